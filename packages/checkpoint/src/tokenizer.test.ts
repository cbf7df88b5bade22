import { fileURLToPath } from 'node:url';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { createMemoryFiles } from './files/files.ts';
import { openCheckpointDirectory } from './node.ts';
import { editJson, type FileContents, tinyCheckpointFiles } from './testing/tiny-checkpoint-files.ts';
import { loadTokenizer } from './tokenizer.ts';

const referenceModel = fileURLToPath(new URL('../../reference-model/model', import.meta.url));
const load = (files: FileContents, vocabSize = 100) => loadTokenizer(createMemoryFiles(files), vocabSize);

describe('loadTokenizer', () => {
  it('takes special tokens written in a text as plain text, and adds none', async () => {
    const checkpoint = await openCheckpointDirectory(referenceModel);
    const tokenizer = await checkpoint.tokenizer();
    expect(tokenizer.prefixIds).toEqual([0]);
    expect(tokenizer.endOfSequenceIds).toEqual([1]);
    const text = 'The whale, “old”, swam\n\n <s> on.';
    const ids = tokenizer.encode(text);
    expect(ids.every((id) => id > 1)).toBe(true);
    expect(tokenizer.decode(ids)).toBe(text);
    expect(tokenizer.decode([0, ...ids, 1], { skipSpecialTokens: true })).toBe(text);
    expect(tokenizer.decode([0])).toBe('<s>');
    expect(tokenizer.encode('')).toEqual([]);
    expect(tokenizer.decode([])).toBe('');
    await checkpoint.close();
  });

  it('merges, and knows all tokens that end a text', async () => {
    const tokenizer = await load(await tinyCheckpointFiles());
    expect(tokenizer.encode('the')).toEqual([97, 'e'.charCodeAt(0) - 31]);
    expect(tokenizer.endOfSequenceIds).toEqual([1, 97]);
  });

  it('refuses a tokenizer with ids beyond the vocabulary of the model', async () => {
    const complete = await tinyCheckpointFiles();
    await expectKvlrError(() => load(complete, 97), 'tokenizer-mismatch', /vocab_size = 97.*97/);
    const files = await tinyCheckpointFiles();
    editJson(files, 'tokenizer.json', (content) => {
      (content.added_tokens as object[]).push({ id: 5000, content: '<pad>', special: true });
    });
    await expectKvlrError(() => load(files), 'tokenizer-mismatch', /5000.*<pad>/);
  });

  it('refuses a missing or damaged tokenizer.json', async () => {
    const files = await tinyCheckpointFiles();
    await expectKvlrError(() => load({ ...files, 'tokenizer.json': '{' }), 'file-malformed', 'tokenizer.json');
    await expectKvlrError(() => load({ ...files, 'tokenizer.json': '{"model": {}}' }), 'file-malformed', 'model.vocab');
    await expectKvlrError(
      () => load({ ...files, 'tokenizer.json': '{"model": {"vocab": {"a": -1}}}' }),
      'file-malformed',
    );
    await expectKvlrError(
      () => load({ ...files, 'tokenizer.json': '{"model": {"vocab": {"a": 1}}}' }),
      'file-malformed',
      'definition',
    );
    delete files['tokenizer.json'];
    await expectKvlrError(() => load(files), 'file-missing', 'tokenizer.json');
  });
});
