"""The second design of the pocket host: a hybrid ViT on a frozen ImageNet trunk, then words, then captions."""
