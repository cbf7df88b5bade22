import { expectKvlrError, type LocalHub, startLocalHub } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMemoryFiles } from '../files/files.ts';
import { openCheckpoint } from '../model/open.ts';
import { openSource } from '../open-source.ts';
import { tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';
import { parseHubId } from './hub.ts';

let hub: LocalHub;
beforeAll(async () => {
  hub = await startLocalHub(await tinyCheckpointFiles());
});
afterAll(() => hub.close());

describe('createHubFiles', () => {
  it('opens a model over the network as it lies on the hub', async () => {
    const model = await openSource('team/tiny', { hubUrl: hub.url });
    const local = await openCheckpoint(createMemoryFiles(hub.files));
    expect(model.id).toBe(local.id);
    const name = model.tensorName('upWeight', 1);
    expect(await model.tensors.readFloat32(name)).toEqual(await local.tensors.readFloat32(name));
  });

  it('reads a file only within its bounds', async () => {
    const { files } = await openSource('team/tiny', { hubUrl: hub.url });
    const size = await files.size('config.json');
    expect(await files.read('config.json', 2, 2)).toEqual(new Uint8Array());
    expect(new TextDecoder().decode(await files.read('config.json', 0, 1))).toBe('{');
    await expectKvlrError(() => files.read('config.json', 0, size + 1), 'file-truncated');
    await expectKvlrError(() => files.read('missing.json'), 'file-missing');
  });

  it('gives typed errors, and asks again after one', async () => {
    hub.refuse = { status: 403, message: 'gated' };
    await expectKvlrError(() => openSource('team/tiny', { hubUrl: hub.url }), 'access-denied', 'gated');
    hub.refuse = undefined;
    await expectKvlrError(() => openSource('team/tiny', { hubUrl: 'http://127.0.0.1:1' }), 'network');
    await expectKvlrError(() => openSource('team/tiny', { hubUrl: hub.url, signal: AbortSignal.abort() }), 'aborted');
  });

  it('reads ids', () => {
    expect(parseHubId('team/tiny')).toEqual({ name: 'team/tiny', revision: 'main' });
    expect(parseHubId('team/tiny-1.5B@refs/pr/1')).toEqual({ name: 'team/tiny-1.5B', revision: 'refs/pr/1' });
    expect(parseHubId('team/tiny:Q4_K_M')).toEqual({ name: 'team/tiny', revision: 'main', gguf: 'Q4_K_M' });
    expect(parseHubId('team/tiny/tiny.gguf')).toEqual({ name: 'team/tiny', revision: 'main', gguf: 'tiny.gguf' });
    expect(parseHubId('team/tiny@v1:a.gguf')).toEqual({ name: 'team/tiny', revision: 'v1', gguf: 'a.gguf' });
    expect(parseHubId('https://huggingface.co/team/tiny/tree/v1')).toEqual({ name: 'team/tiny', revision: 'v1' });
    expect(parseHubId('https://hf.co/team/tiny/resolve/main/a.gguf?download=true')).toEqual({
      ...{ name: 'team/tiny', revision: 'main', gguf: 'a.gguf' },
    });
    for (const text of ['tiny', './team/tiny', '../tiny', '/team/tiny', 'a/b/c', 'team/', 'https://team/tiny']) {
      expect([text, parseHubId(text)]).toEqual([text, undefined]);
    }
  });
});
