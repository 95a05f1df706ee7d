"""Measures methods under every noise of a subject, one after the other."""

from __future__ import annotations

from pipeline.benchmark import recognition
from pipeline.benchmark.contender import Contender
from pipeline.benchmark.contents import Result
from pipeline.benchmark.findings import Findings
from pipeline.benchmark.subject import Subject, tell


class Measuring:
    """What was measured so far.

    Attributes:
      about: All that decides figures, but for the method and the noise.
      contenders: Everything that was measured.
      results: What came of it.
    """

    def __init__(
        self,
        subject: Subject,
        findings: Findings,
        classifier: recognition.Recognition | None = None,
    ):
        self._subject = subject
        self._findings = findings
        self._classify = classifier.classify if classifier else None
        self.about = subject.key(subject.test)
        if classifier is not None:
            self.about["classifier"] = classifier.fingerprint
        self.contenders: list[Contender] = []
        self.results: list[Result] = []

    def measure(
        self, contender: Contender, number: int = 0, total: int = 1, begun: float = 0.0
    ) -> None:
        """Measures a method under every noise, as it is made for that noise.

        Args:
          contender: The method.
          number: Its place among those of the step, from 0.
          total: Number of methods of the step.
          begun: Share of its work that was done before.
        """
        noises = self._subject.noises
        for done, noise in enumerate(noises):
            title = f"{contender.method.title}, {noise}"

            def told(share: float, done: int = done, title: str = title) -> None:
                measured = (done + share) / len(noises)
                tell(number + begun + (1 - begun) * measured, total, title)

            told(0.0)
            self.results.append(
                contender.result(
                    self._subject.noisy,
                    noise,
                    noise,
                    self.about,
                    self._findings,
                    self._classify,
                    told,
                )
            )
        self.contenders.append(contender)
