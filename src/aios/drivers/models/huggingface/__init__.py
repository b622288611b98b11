"""Models in the files of Hugging Face's transformers, computed with torch. Needs the extra `huggingface`."""
