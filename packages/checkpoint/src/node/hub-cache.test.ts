import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KvlrEvent } from '@kvlr/core';
import { expectKvlrError, type LocalHub, startLocalHub } from '@kvlr/testkit';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createMemoryFiles } from '../files/files.ts';
import { encodeGguf, type GgufSettings } from '../gguf/export.ts';
import { openCheckpoint } from '../model/open.ts';
import { openSource as openByRange } from '../open-source.ts';
import { editJson, tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';
import { downloadHubModel } from './hub-cache.ts';
import { openSource } from './open.ts';

let hub: LocalHub;
let cacheDirectory: string;
beforeEach(async () => {
  hub = await startLocalHub({ ...(await tinyCheckpointFiles()), 'pytorch_model.bin': 'another form of the weights' });
  cacheDirectory = await mkdtemp(join(tmpdir(), 'kvlr-hub-'));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.close();
  await rm(cacheDirectory, { recursive: true });
});

const settings = () => ({ hubUrl: hub.url, cacheDirectory });
const weightRequests = () => hub.requests.filter((path) => path.includes('.safetensors') && !path.endsWith('#0'));

describe('downloadHubModel', () => {
  it('brings a checkpoint into the cache, and nothing else, once', async () => {
    const events: KvlrEvent[] = [];
    const directory = await downloadHubModel('team/tiny', { ...settings(), onEvent: (event) => events.push(event) });
    expect(directory).toBe(join(cacheDirectory, 'models--team--tiny', 'snapshots', hub.commit));
    const names = Object.keys(hub.files).filter((name) => !/\.bin$|^README/.test(name));
    expect((await readdir(directory)).sort()).toEqual(names.sort());
    expect(await readFile(join(directory, 'config.json'), 'utf8')).toBe(hub.files['config.json']);
    const progress = events.filter((event) => event.type === 'progress');
    expect(progress.at(-1)).toMatchObject({ completed: progress[0]!.total, unit: 'bytes' });

    hub.requests.length = 0;
    expect(await downloadHubModel('team/tiny', settings())).toBe(directory);
    expect(hub.requests.filter((path) => path.includes('/resolve/'))).toEqual([]);
  });

  it('writes to no place that the hub names by its commit', async () => {
    for (const commit of ['../../../out', 'main', 'A'.repeat(40), '..\\..']) {
      hub.commit = commit;
      await expectKvlrError(() => downloadHubModel('team/tiny', settings()), 'network', 'a commit');
    }
    expect(await readdir(cacheDirectory)).toEqual([]);
  });

  it('goes on where a broken connection stopped', async () => {
    hub.breakAfter = 5000;
    await expectKvlrError(() => downloadHubModel('team/tiny', settings()), 'network');
    const storage = join(cacheDirectory, 'models--team--tiny');
    expect((await readdir(join(storage, 'blobs'))).filter((name) => name.endsWith('.incomplete'))).toHaveLength(1);
    hub.breakAfter = undefined;
    const directory = await downloadHubModel('team/tiny', settings());
    expect(weightRequests().at(-1)).toMatch(/#5000$/);
    const weights = new Uint8Array(await readFile(join(directory, 'model.safetensors')));
    expect(weights).toEqual(hub.files['model.safetensors']);
    expect((await readdir(join(storage, 'blobs'))).filter((name) => name.endsWith('.incomplete'))).toEqual([]);
  });

  it('throws away content with another hash than the hub names', async () => {
    hub.breakAfter = 5000;
    await expectKvlrError(() => downloadHubModel('team/tiny', settings()), 'network');
    hub.breakAfter = undefined;
    const blobs = join(cacheDirectory, 'models--team--tiny', 'blobs');
    const incomplete = (await readdir(blobs)).find((name) => name.endsWith('.incomplete'))!;
    await writeFile(join(blobs, incomplete), new Uint8Array(5000));
    await expectKvlrError(() => downloadHubModel('team/tiny', settings()), 'file-malformed', 'model.safetensors');
    await downloadHubModel('team/tiny', settings());
  });

  it('loads only what another revision changed', async () => {
    await downloadHubModel('team/tiny', settings());
    hub.requests.length = 0;
    hub.commit = 'b'.repeat(40);
    hub.files['generation_config.json'] = '{"eos_token_id": 1}';
    const directory = await downloadHubModel('team/tiny@v1', settings());
    expect(directory).toContain('b'.repeat(40));
    expect(weightRequests()).toEqual([]);
    expect(await readFile(join(directory, 'generation_config.json'), 'utf8')).toBe('{"eos_token_id": 1}');
  });

  it('takes the last complete copy when the hub does not answer, and says so', async () => {
    const directory = await downloadHubModel('team/tiny', settings());
    const events: KvlrEvent[] = [];
    const offline = { cacheDirectory, hubUrl: 'http://127.0.0.1:1', onEvent: (event: KvlrEvent) => events.push(event) };
    expect(await downloadHubModel('team/tiny', offline)).toBe(directory);
    expect(events).toMatchObject([{ type: 'warning' }]);
    await expectKvlrError(() => downloadHubModel('team/other', offline), 'network', 'team/other');
  });

  it.each([
    [401, 'access-denied', 'HF_TOKEN'],
    [403, 'access-denied', 'HF_TOKEN'],
    [404, 'file-missing', 'no such model'],
    [500, 'network', 'later'],
  ] as const)('says what status %s means', async (status, code, hint) => {
    hub.refuse = { status, message: 'as the hub says it' };
    const refused = downloadHubModel('team/tiny', settings());
    await expect(refused).rejects.toMatchObject({ code, hint: expect.stringContaining(hint), data: { status } });
    await expectKvlrError(() => refused, code, /team\/tiny.*as the hub says it/);
  });

  it('honours HF_ENDPOINT, HF_TOKEN and HF_HUB_CACHE', async () => {
    hub.token = 'hf_secret';
    vi.stubEnv('HF_ENDPOINT', `${hub.url}/`);
    vi.stubEnv('HF_HUB_CACHE', cacheDirectory);
    vi.stubEnv('HF_TOKEN', '');
    await expectKvlrError(() => downloadHubModel('team/tiny'), 'access-denied');
    vi.stubEnv('HF_TOKEN', 'hf_secret');
    expect(await downloadHubModel('team/tiny')).toContain(cacheDirectory);
    vi.stubEnv('HF_TOKEN', 'secret');
    await expectKvlrError(() => downloadHubModel('team/tiny'), 'invalid-argument', 'hf_');
  });

  it('stops when it is told to', async () => {
    const controller = new AbortController();
    const onEvent = ({ type }: KvlrEvent) => type === 'progress' && controller.abort();
    await expectKvlrError(
      () => downloadHubModel('team/tiny', { ...settings(), signal: controller.signal, onEvent }),
      'aborted',
    );
  });

  it('refuses a model without safetensors before it loads anything', async () => {
    delete hub.files['model.safetensors'];
    await expectKvlrError(() => downloadHubModel('team/tiny', settings()), 'file-missing', 'safetensors');
    expect(hub.requests.filter((path) => path.includes('/resolve/'))).toEqual([]);
  });
});

/** The tiny checkpoint as a GGUF file. */
async function tinyGguf(dtype: GgufSettings['dtype'] = 'F32'): Promise<Uint8Array> {
  const model = await openCheckpoint(createMemoryFiles(await tinyCheckpointFiles()));
  const pieces: Uint8Array[] = [];
  await encodeGguf(model, model, { write: async (bytes) => void pieces.push(bytes.slice()) }, { dtype });
  return Uint8Array.from(pieces.flatMap((piece) => [...piece]));
}

describe('a repository of GGUF files', () => {
  const ggufRequests = () => hub.requests.filter((path) => path.includes('.gguf'));
  beforeEach(async () => {
    hub.files = {
      'README.md': '# quantised',
      // Some repositories have a stub beside their files.
      'config.json': '{"model_type": "llama"}',
      'tiny-Q8_0.gguf': await tinyGguf('Q8_0'),
      'tiny-F32.gguf': await tinyGguf(),
      'mmproj-tiny-F32.gguf': 'what projects pictures',
    };
  });

  it.each([
    ['team/tiny:Q8_0', 'tiny-Q8_0.gguf'],
    ['team/tiny:f32', 'tiny-F32.gguf'],
    ['team/tiny/tiny-F32.gguf', 'tiny-F32.gguf'],
    ['team/tiny@v1:tiny-F32.gguf', 'tiny-F32.gguf'],
    ['https://huggingface.co/team/tiny/blob/main/tiny-Q8_0.gguf?download=true', 'tiny-Q8_0.gguf'],
  ])('has the file that is asked for, loaded once: %s', async (id, file) => {
    const path = await downloadHubModel(id, settings());
    expect(path).toBe(join(cacheDirectory, 'models--team--tiny', 'snapshots', hub.commit, file));
    expect(await readdir(join(path, '..'))).toEqual([file]);
    expect(new Uint8Array(await readFile(path))).toEqual(hub.files[file]);
    hub.requests.length = 0;
    expect(await downloadHubModel(id, settings())).toBe(path);
    expect(ggufRequests()).toEqual([]);
    expect(await downloadHubModel(id, { ...settings(), hubUrl: 'http://127.0.0.1:1' })).toBe(path);
  });

  it('says which files there are, before it loads one', async () => {
    const several = /team\/tiny.*tiny-Q8_0\.gguf, tiny-F32\.gguf$/;
    await expectKvlrError(() => downloadHubModel('team/tiny', settings()), 'invalid-argument', several);
    await expectKvlrError(() => downloadHubModel('team/tiny:Q4_K_M', settings()), 'file-missing', several);
    await expectKvlrError(() => downloadHubModel('team/tiny/other.gguf', settings()), 'file-missing', several);
    expect(ggufRequests()).toEqual([]);
  });

  it('opens the only file there is, on disk and by byte range, as the same model', async () => {
    delete hub.files['tiny-Q8_0.gguf'];
    const [kept, streamed] = [await openSource('team/tiny', settings()), await openByRange('team/tiny', settings())];
    expect(kept.location).toContain('tiny-F32.gguf');
    expect(streamed.id).toBe(kept.id);
    expect((await streamed.tokenizer()).encode('th').length).toBe(1);
    await kept.close();
  });

  it('is left alone where the repository has safetensors, unless a file is named', async () => {
    hub.files = { ...(await tinyCheckpointFiles()), 'tiny-Q8_0.gguf': hub.files['tiny-Q8_0.gguf']! };
    expect(await readdir(await downloadHubModel('team/tiny', settings()))).not.toContain('tiny-Q8_0.gguf');
    expect(await downloadHubModel('team/tiny:Q8_0', settings())).toMatch(/tiny-Q8_0\.gguf$/);
  });

  it('is refused by its header, before its weights are loaded', async () => {
    const bytes = hub.files['tiny-F32.gguf'] as Uint8Array;
    const name = Buffer.from(bytes).indexOf('llama');
    hub.files['tiny-F32.gguf'] = bytes.map((byte, place) => (place === name ? 0x78 : byte));
    await expectKvlrError(() => downloadHubModel('team/tiny:F32', settings()), 'unknown-architecture', 'xlama');
    expect(await readdir(cacheDirectory)).toEqual([]);
    hub.files['big-F16-00001-of-00002.gguf'] = 'one part';
    hub.files['big-F16-00002-of-00002.gguf'] = 'the other';
    await expectKvlrError(() => downloadHubModel('team/tiny:F16', settings()), 'unsupported-feature', 'one of 2 parts');
  });
});

it('refuses a checkpoint by its config, before its weights are loaded', async () => {
  editJson(hub.files, 'config.json', (config) => (config.model_type = 'mixtral'));
  await expectKvlrError(() => downloadHubModel('team/tiny', settings()), 'unknown-architecture', 'mixtral');
  expect(weightRequests()).toEqual([]);
});

describe('openSource', () => {
  it('opens hub ids and directories alike', async () => {
    const fromHub = await openSource('team/tiny', settings());
    const fromDirectory = await openSource(fromHub.location);
    expect(fromDirectory.id).toBe(fromHub.id);
    expect((await fromHub.tokenizer()).encode('th').length).toBe(1);
    await Promise.all([fromHub.close(), fromDirectory.close()]);
  });

  it('opens the directory that a model has in the cache', async () => {
    const fromHub = await openSource('team/tiny', settings());
    const fromCache = await openSource(join(cacheDirectory, 'models--team--tiny'));
    expect(fromCache.location).toBe(fromHub.location);
    await Promise.all([fromHub.close(), fromCache.close()]);
  });

  it('opens a GGUF file whatever its name', async () => {
    const path = join(cacheDirectory, 'sha256-0123');
    await writeFile(path, await tinyGguf());
    const model = await openSource(path);
    expect(model.shape.numKeyValueHeads).toBe(4);
    await model.close();
  });

  it('says which forms there are', async () => {
    await expectKvlrError(
      () => openSource('no-such-model', settings()),
      'file-missing',
      /a directory.*owner\/name.*a URL/,
    );
    await expectKvlrError(() => openSource(import.meta.filename), 'file-malformed', 'the directory of a checkpoint');
    const part = join(cacheDirectory, 'config.json');
    await writeFile(part, '{}');
    await expect(openSource(part)).rejects.toMatchObject({ hint: `Name its directory: ${cacheDirectory}.` });
    await expectKvlrError(() => openSource('team/other', settings()), 'file-missing', 'no directory of that name');
  });
});
