"""The embedded model server: what `denoise serve` runs.

It speaks TF Serving's gRPC and REST APIs and takes tensorflow_model_server's flags, so that
a client, or a script that starts the server, cannot tell the two apart:

    python -m serving.server --model_name=denoiser --model_base_path=workspace/serving/denoiser
"""
