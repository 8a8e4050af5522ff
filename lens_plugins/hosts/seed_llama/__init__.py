"""SEED-LLaMA: inputs become codes, a language model reads and writes codes among its words, codes become pictures."""
