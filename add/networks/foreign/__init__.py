"""Checkpoints of other programs: recognising their networks by the keys, and converting to and from diffusers.

`recognition` finds out what network a checkpoint of guided-diffusion's key layout holds (by `key_architecture`, and the
table of OpenAI's `published_models`); `diffusers_keys` and `diffusers_scheduler` translate to and from diffusers.
"""
