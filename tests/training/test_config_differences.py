from add.diffusion import DiffusionConfig
from add.networks import ClassifierConfig, ModelConfig
from add.training.config_differences import EXECUTION, LOSS, SAMPLING, differences

EVERYTHING = EXECUTION | SAMPLING | LOSS


def test_differences_name_old_and_new():
    trained, given = (ModelConfig(num_heads=2), DiffusionConfig()), (ModelConfig(), DiffusionConfig(prediction="v"))
    assert differences(trained, given, set()) == {"num_heads": (2, 4), "prediction": ("epsilon", "v")}
    assert differences(trained, given, {"num_heads"}) == {"prediction": ("epsilon", "v")}


def test_what_does_not_change_the_meaning_of_weights():
    given = (ModelConfig(use_fp16=True, use_checkpoint=True, dropout=0.2, num_classes=5),
             DiffusionConfig(timestep_respacing="ddim50", use_kl=True, rescale_learned_sigmas=True, min_snr_gamma=5.0,
                             even_share=0.1))
    trained = ModelConfig(), DiffusionConfig()
    assert differences(trained, given, EVERYTHING) == {}
    found = differences(trained, given, set())  # classes don't matter without class_cond
    assert found.keys() == EVERYTHING - {"classifier_use_fp16"}


def test_two_spellings_of_a_prediction_are_one():
    one, other = DiffusionConfig(predict_xstart=True), DiffusionConfig(prediction="x_start")
    assert differences((ModelConfig(), one), (ModelConfig(), other), set()) == {}


def test_networks_of_another_kind_differ():
    given = ClassifierConfig(image_size=ModelConfig.image_size), DiffusionConfig()
    changes = differences((ModelConfig(), DiffusionConfig()), given, EVERYTHING)
    assert changes["kind"] == ("image", "classifier") and changes["num_channels"] == (128, None)
