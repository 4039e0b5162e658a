"""Networks as TorchScript and ONNX, by the functions that MONAI's bundle commands use."""

from __future__ import annotations

from io import BytesIO

import pytest
import torch
from monai.networks.utils import convert_to_onnx, convert_to_torchscript

from medvae.networks import SliceVAE
from tiny_networks import BUILDERS, slices_for

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`torch\.jit\.\w+` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning"),
]


# ResNet-152 has no operation that the others have not, and takes as long as all of them.
without_resnet152 = pytest.mark.parametrize(
    "build_variant", [name for name in BUILDERS if name != "resnet152"], indirect=True
)


@pytest.mark.slow
@pytest.mark.parametrize("use_trace", [False, True], ids=["script", "trace"])
@without_resnet152
def test_torchscript_computes_the_same(trained_variant: SliceVAE, use_trace: bool) -> None:
    x = slices_for(trained_variant)
    file = BytesIO()
    convert_to_torchscript(trained_variant, file, inputs=[x], use_trace=use_trace)
    file.seek(0)
    torch.testing.assert_close(torch.jit.load(file)(x), trained_variant(x), atol=1e-3, rtol=0)


@pytest.mark.slow
@without_resnet152
def test_onnx_computes_the_same(trained_variant: SliceVAE) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    x = slices_for(trained_variant)
    model = convert_to_onnx(trained_variant, [x], input_names=["image"], output_names=["pred"])
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (exported,) = session.run(None, {"image": x.numpy()})
    expected = trained_variant(x).detach()
    torch.testing.assert_close(torch.from_numpy(exported), expected, atol=1e-3, rtol=0)
