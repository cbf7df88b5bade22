import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { referenceLicences, referenceModelCard, referenceModelFiles, referenceTexts } from './index.ts';
import { referenceModelDirectory, referenceTextPaths } from './node.ts';

interface StoredTensor {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

async function readWeightsHeader(): Promise<{ tensors: StoredTensor[]; dataStart: number }> {
  const bytes = await readFile(referenceModelFiles['model.safetensors']);
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + headerLength).toString('utf8')) as Record<string, StoredTensor>;
  const tensors = Object.entries(header).filter(([name]) => name !== '__metadata__');
  return { tensors: tensors.map(([, tensor]) => tensor), dataStart: 8 + headerLength };
}

async function readDocuments(url: URL): Promise<{ source: string; text: string }[]> {
  const lines = (await readFile(url, 'utf8')).split('\n').filter((line) => line.length > 0);
  return lines.map((line) => JSON.parse(line));
}

describe('the embedded checkpoint', () => {
  it('lists every file of the model directory except the card', async () => {
    const listed = Object.keys(referenceModelFiles).sort();
    const present = (await readdir(referenceModelDirectory)).filter((name) => name !== 'README.md').sort();
    expect(listed).toEqual(present);
  });

  it('has weights whose header accounts for every byte of the file', async () => {
    const { tensors, dataStart } = await readWeightsHeader();
    const end = Math.max(...tensors.map((tensor) => tensor.data_offsets[1]));
    expect((await stat(referenceModelFiles['model.safetensors'])).size).toBe(dataStart + end);
  });

  it('has the parameters and the shape that the card states', async () => {
    const { tensors } = await readWeightsHeader();
    const sizes = tensors.map((tensor) => tensor.shape.reduce((product, length) => product * length, 1));
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(referenceModelCard.parameters);

    const config = JSON.parse(await readFile(referenceModelFiles['config.json'], 'utf8'));
    expect(config).toMatchObject({
      num_hidden_layers: referenceModelCard.numLayers,
      hidden_size: referenceModelCard.hiddenSize,
      num_attention_heads: referenceModelCard.numAttentionHeads,
      num_key_value_heads: referenceModelCard.numKeyValueHeads,
      head_dim: referenceModelCard.headDim,
      vocab_size: referenceModelCard.vocabSize,
      max_position_embeddings: referenceModelCard.maxPositionEmbeddings,
    });
  });
});

describe('the embedded texts', () => {
  it('are found by URL and by path', () => {
    for (const path of Object.values(referenceTextPaths)) expect(existsSync(path), path).toBe(true);
  });

  it('have no document in common', async () => {
    const calibration = new Set((await readDocuments(referenceTexts.calibration)).map(({ text }) => text));
    const validation = await readDocuments(referenceTexts.validation);
    expect(validation.filter(({ text }) => calibration.has(text))).toEqual([]);
  });

  it('cover the same three sources, each with a stated licence and perplexity', async () => {
    const sources = Object.keys(referenceModelCard.perplexityBySource).sort();
    for (const url of Object.values(referenceTexts)) {
      const documents = await readDocuments(url);
      expect([...new Set(documents.map(({ source }) => source))].sort()).toEqual(sources);
      expect(documents.every(({ text }) => text.trim().length > 0)).toBe(true);
    }
    expect(referenceLicences.map(({ subject }) => subject).sort()).toEqual(['model', ...sources].sort());
  });
});
