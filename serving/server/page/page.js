// Images are Float32Arrays of height * width * channels values in [0, 1].

const $ = (id) => document.getElementById(id);

// Each noise with the range of its level, as components/noise defines it.
const NOISES = {
  salt_pepper: {
    unit: "of the pixels", max: 1, level: 0.1,
    // Beta(0.5, 0.5) is sin²(πU/2).
    add: (x, level) => (Math.random() < level
      ? Math.round(255 * Math.sin(Math.PI * Math.random() / 2) ** 2) / 255 : x),
  },
  gaussian: { unit: "standard deviation", max: 1, level: 0.3, add: (x, sd) => x + sd * normal() },
  speckle: {
    unit: "standard deviation", max: 1, level: 0.4, add: (x, sd) => x * (1 + sd * normal()),
  },
  uniform: {
    unit: "largest change", max: 1, level: 0.4,
    add: (x, width) => x + width * (2 * Math.random() - 1),
  },
  none: { unit: "", max: 1, level: 0, add: (x) => x },
};

let models = [];
let model = null;
let clean = null;
let asked = 0;

function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

function psnr(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return sum === 0 ? Infinity : -10 * Math.log10(sum / a.length);
}

function decibels(value) {
  return value === Infinity ? "identical" : `${value.toFixed(2)} dB`;
}

function draw(canvas, values) {
  const { height, width, channels } = model;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const data = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) {
      data.data[4 * i + c] = 255 * values[i * channels + (channels === 1 ? 0 : c)];
    }
    data.data[4 * i + 3] = 255;
  }
  context.putImageData(data, 0, 0);
}

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

async function denoise() {
  if (!model || !clean) return;
  const turn = ++asked;
  const noise = NOISES[$("noise").value];
  const level = Number($("level").value);
  const pixels = Array.from(clean, (x) =>
    Math.round(255 * Math.min(1, Math.max(0, noise.add(x, level)))));
  const noisy = Float32Array.from(pixels, (value) => value / 255);
  draw($("clean"), clean);
  draw($("noisy"), noisy);
  $("noisy-psnr").textContent = decibels(psnr(clean, noisy));
  const started = performance.now();
  try {
    const response = await fetch(`/v1/models/${encodeURIComponent(model.model)}:predict`, {
      method: "POST",
      body: JSON.stringify({ signature_name: "predict_pixels", inputs: [pixels] }),
    });
    const answer = await response.json();
    if (turn !== asked) return; // a newer one is on the way
    if (!response.ok) throw new Error(answer.error);
    const denoised = Float32Array.from(answer.outputs[0], (value) => value / 255);
    draw($("denoised"), denoised);
    $("denoised-psnr").textContent = decibels(psnr(clean, denoised));
    say(`Denoised in ${Math.round(performance.now() - started)} ms.`);
  } catch (error) {
    if (turn === asked) say(`The server did not answer: ${error.message}`, true);
  }
}

function choose(values) {
  clean = values;
  denoise();
}

function select(button) {
  for (const other of $("samples").children) {
    other.setAttribute("aria-checked", String(other === button));
    other.tabIndex = other === button ? 0 : -1;
  }
}

function showSamples() {
  const samples = model.samples.map((pixels) => Float32Array.from(pixels, (p) => p / 255));
  const buttons = samples.map((values, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("role", "radio");
    button.setAttribute("aria-label", `Sample ${index + 1}`);
    const canvas = document.createElement("canvas");
    button.append(canvas);
    draw(canvas, values);
    button.addEventListener("click", () => { select(button); choose(values); });
    return button;
  });
  $("samples").replaceChildren(...buttons);
  clean = null;
  if (buttons.length) {
    buttons[0].click();
  } else {
    say("Drop an image to begin.");
  }
}

// The arrow keys move within the samples, as in any group of radio buttons.
$("samples").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const buttons = [...$("samples").children];
  const at = buttons.indexOf(document.activeElement);
  if (!step || at < 0) return;
  event.preventDefault();
  const next = buttons[(at + step + buttons.length) % buttons.length];
  next.focus();
  next.click();
});

async function open(file) {
  if (!file || !model) return;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    say(`${file.name} is not an image this browser can read.`, true);
    return;
  }
  const { height, width, channels } = model;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  // The largest middle part of the model's proportions, at the model's size.
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  context.imageSmoothingQuality = "high";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, (width - bitmap.width * scale) / 2,
    (height - bitmap.height * scale) / 2, bitmap.width * scale, bitmap.height * scale);
  const data = context.getImageData(0, 0, width, height).data;
  const values = new Float32Array(height * width * channels);
  for (let i = 0; i < height * width; i++) {
    const [r, g, b] = data.subarray(4 * i, 4 * i + 3);
    if (channels === 1) {
      values[i] = (0.299 * r + 0.587 * g + 0.114 * b) / 255;
    } else {
      values.set([r / 255, g / 255, b / 255], 3 * i);
    }
  }
  select(null);
  if ($("samples").firstChild) $("samples").firstChild.tabIndex = 0;
  choose(values);
}

$("file").addEventListener("change", (event) => open(event.target.files[0]));
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop") open(event.dataTransfer.files[0]);
  });
}

function showLevel() {
  const { unit } = NOISES[$("noise").value];
  const level = Number($("level").value);
  const text = unit === "of the pixels" ? `${Math.round(100 * level)} % ${unit}`
    : `${level.toFixed(2)} ${unit}`;
  $("level-text").textContent = text;
  $("level").setAttribute("aria-valuetext", text);
}

$("noise").addEventListener("change", () => {
  const { max, level } = NOISES[$("noise").value];
  $("level").max = max;
  $("level").value = level;
  $("level").parentElement.hidden = $("noise").value === "none";
  showLevel();
  denoise();
});
$("level").addEventListener("input", () => { showLevel(); denoise(); });
$("again").addEventListener("click", denoise);
$("controls").addEventListener("submit", (event) => event.preventDefault());
$("model").addEventListener("change", () => {
  model = models[$("model").selectedIndex];
  showSamples();
});

async function start() {
  showLevel();
  try {
    models = await (await fetch("/page/samples.json")).json();
  } catch (error) {
    say(`The server did not answer: ${error.message}`, true);
    return;
  }
  if (!models.length) {
    say("No model with a predict_pixels signature is being served yet. Reload when there is one.",
      true);
    return;
  }
  $("model").replaceChildren(...models.map((item) => new Option(item.model)));
  $("model-label").hidden = models.length < 2;
  model = models[0];
  showSamples();
}

start();
