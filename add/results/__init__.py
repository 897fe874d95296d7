"""The output folders of commands, written and read: translations, samples, label tables, pictures.

`TranslationDataset` gives the images of finished translations with their soft labels to a training loop of your own.
"""
from add.results.sample_folder import SamplesFolder
from add.results.translation_dataset import TranslationDataset
from add.results.translation_folder import TranslationFolder
from add.results.translation_series import Series, read_series

__all__ = ["SamplesFolder", "Series", "TranslationDataset", "TranslationFolder", "read_series"]
