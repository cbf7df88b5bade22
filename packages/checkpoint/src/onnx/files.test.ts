import { createTinyModel, expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { applyCompression, overlayModel } from '../model/variant.ts';
import { randomCompressedLayer } from '../testing/compressed-layer.ts';
import { type OnnxFile, onnxFiles } from './files.ts';

const model = createTinyModel({ headDim: 16 });

async function bytesOf(file: OnnxFile): Promise<{ bytes: Uint8Array; largestWrite: number }> {
  const pieces: Uint8Array[] = [];
  await file.write({ write: async (bytes) => void pieces.push(bytes.slice()) });
  return {
    bytes: Uint8Array.from(pieces.flatMap((piece) => [...piece])),
    largestWrite: Math.max(...pieces.map(({ length }) => length)),
  };
}

describe('onnxFiles', () => {
  it('writes as many bytes as it announced, a piece of one tensor at a time', async () => {
    const largestTensor = Math.max(...model.tensors.list().map(({ byteLength }) => byteLength));
    for (const settings of [{}, { dtype: 'F16' as const }, { maxFileBytes: 20_000 }]) {
      for (const file of onnxFiles(model, settings)) {
        const { bytes, largestWrite } = await bytesOf(file);
        expect([file.name, bytes.length]).toEqual([file.name, file.byteLength]);
        expect(largestWrite).toBeLessThanOrEqual(Math.max(largestTensor, 8192));
      }
    }
  });

  it('names the files as transformers.js looks for them', () => {
    const names = (settings: Parameters<typeof onnxFiles>[1]) => onnxFiles(model, settings).map(({ name }) => name);
    expect(names({})).toEqual(['model.onnx']);
    expect(names({ dtype: 'F16' })).toEqual(['model_fp16.onnx']);
    expect(names({ maxFileBytes: 25_000 }).slice(0, 3)).toEqual(['model.onnx', 'model.onnx_data', 'model.onnx_data_1']);
  });

  it('gives a tensor that is larger than a file a file to itself', () => {
    const parts = onnxFiles(model, { maxFileBytes: 4097 }).slice(1);
    expect(Math.max(...parts.map(({ byteLength }) => byteLength))).toBe(24 * 64 * 4);
  });

  it('stores tied embeddings once', () => {
    const tied = createTinyModel({ headDim: 16, tieWordEmbeddings: true });
    const saved = onnxFiles(model)[0]!.byteLength - onnxFiles(tied)[0]!.byteLength;
    const { vocabSize, hiddenSize } = model.shape;
    expect(Math.abs(saved - 4 * vocabSize * hiddenSize)).toBeLessThan(200);
  });

  it('reports its progress and stops when it is told to', async () => {
    const controller = new AbortController();
    const seen: number[] = [];
    const [file] = onnxFiles(model, {
      signal: controller.signal,
      onEvent: (event) => {
        if (event.type !== 'progress') return;
        seen.push(event.completed / event.total);
        if (seen.length === 3) controller.abort();
      },
    });
    await expectKvlrError(() => bytesOf(file!), 'aborted');
    expect(seen.length).toBe(3);
    expect(seen).toEqual([...seen].sort());
  });

  it('names the weight that F16 cannot hold', async () => {
    const name = model.tensorName('upWeight', 1);
    const data = (await model.tensors.readFloat32(name)).fill(1e5, 3, 4);
    const tensors = new Map([[name, { shape: model.tensors.info(name).shape, data }]]);
    const loud = overlayModel(model, { shape: model.shape, tensors, id: 'loud' });
    await expectKvlrError(() => bytesOf(onnxFiles(loud, { dtype: 'F16' })[0]!), 'numerical', name);
  });

  it('refuses layouts and widths that ONNX Runtime does not attend to', async () => {
    const one = (settings: object) =>
      applyCompression(model, [randomCompressedLayer(model.shape, { layer: 0, groups: 2, ...settings })]);
    expectKvlrError(() => onnxFiles(one({ latentRank: 4 })), 'unsupported-feature', 'latent keys');
    expectKvlrError(() => onnxFiles(one({})), 'unsupported-feature', 'head counts by layer 2, 4');
    expectKvlrError(() => onnxFiles(createTinyModel({ headDim: 12 })), 'unsupported-feature', 'multiple of 8');
  });
});
