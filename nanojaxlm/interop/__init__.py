"""Models to and from the folders of the ecosystem: config.json, *.safetensors, tokenizer files."""
