"""The paper's method: Fourier measure, depth control, soft labels, bidirectional translation.

Liu et al., "Generating Progressive Images from Pathological Transitions via Diffusion Model", MICCAI 2024
(arXiv:2311.12316). Read in this order: fourier_measure, depths, labels, two_way_samplers, progress_rule,
simplex_weights, weighted_decode, translation, chain; from_noise makes images of noise alone, point_translation carries
points in the plane.
"""
from add.transition.chain import translate_chain, way_evaluations
from add.transition.depths import RULES, DepthPlan, check_depth_options, choose_depths
from add.transition.fourier_measure import FEATURES, measure_feature
from add.transition.labels import chain_labels, series_labels, soft_labels
from add.transition.simplex_weights import PATHS, WEIGHT_RULES, mosaic_weights
from add.transition.translation import Translation, check_schedules, decode, encode, training_depths, translate
from add.transition.two_way_samplers import SAMPLERS, make_sampler
from add.transition.weighted_decode import Mosaic

__all__ = ["FEATURES", "PATHS", "RULES", "SAMPLERS", "WEIGHT_RULES", "DepthPlan", "Mosaic", "Translation",
           "chain_labels", "check_depth_options", "check_schedules", "choose_depths", "decode", "encode",
           "make_sampler", "measure_feature", "mosaic_weights", "series_labels", "soft_labels",
           "training_depths", "translate", "translate_chain", "way_evaluations"]
