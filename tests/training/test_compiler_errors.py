import pytest
from torch._dynamo.exc import TorchDynamoException
from torch._inductor.exc import InvalidCxxCompiler

from add.errors import UserError
from add.training.compiler_errors import compiler_errors_explained


@pytest.mark.parametrize("error", [InvalidCxxCompiler(), TorchDynamoException("no backend")], ids=repr)
def test_compiler_errors_name_the_remedy(error):
    with pytest.raises(UserError, match="C\\+\\+ compiler such as g\\+\\+; install one, or leave out --compile"), \
            compiler_errors_explained():
        raise error


def test_a_wrapped_compiler_error_is_seen():
    with pytest.raises(UserError, match="can't be compiled"), compiler_errors_explained():
        raise RuntimeError("backward failed") from InvalidCxxCompiler()


@pytest.mark.parametrize("error", [RuntimeError("a bug"), UserError("mine"), KeyboardInterrupt()], ids=repr)
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, compiler_errors_explained():
        raise error
    assert caught.value is error
