import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expectKvlrError } from '@kvlr/testkit';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { downloadDatasetSplit } from './hub-datasets.ts';

const cacheDirectory = await mkdtemp(join(tmpdir(), 'kvlr-datasets-'));
let asked: [path: string, authorisation: string | undefined][] = [];
const server = createServer(({ url, headers }, response) => {
  asked.push([url!, headers.authorization]);
  if (url === '/api/datasets/team/data/parquet/main/test')
    response.end(JSON.stringify(['/p/0.parquet', `${hubUrl}/p/1.parquet`]));
  else if (url?.startsWith('/p/')) response.end(`PAR1 ${url}`);
  else if (url?.includes('strange')) response.end('{"error":"no list"}');
  else response.writeHead(url?.includes('closed') ? 401 : 404).end();
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const hubUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
beforeEach(() => {
  asked = [];
});
afterAll(async () => {
  server.close();
  await rm(cacheDirectory, { recursive: true });
});

const settings = { hubUrl, cacheDirectory, accessToken: 'hf_secret' };

describe('a dataset of the hub', () => {
  it('is loaded once, as the Parquet files that the hub keeps of it', async () => {
    const split = { id: 'team/data', name: 'main', split: 'test' };
    const files = await downloadDatasetSplit(split, settings);
    expect(await Promise.all(files.map((file) => readFile(file, 'utf8')))).toEqual([
      'PAR1 /p/0.parquet',
      'PAR1 /p/1.parquet',
    ]);
    expect(asked).toHaveLength(3);
    expect(asked.every(([, authorisation]) => authorisation === 'Bearer hf_secret')).toBe(true);
    expect(await downloadDatasetSplit(split, settings)).toEqual(files);
    expect(asked).toHaveLength(3);
  });

  it.each([
    ['team/closed', 'access-denied', /dataset team\/closed/],
    ['team/none', 'file-missing', /dataset team\/none/],
    ['team/strange', 'network', /list the Parquet files of team\/strange/],
    ['../up', 'invalid-argument', /owner\/name/],
  ] as const)('that cannot be had says why: %s', async (id, code, message) => {
    await expectKvlrError(() => downloadDatasetSplit({ id, name: 'main', split: 'test' }, settings), code, message);
  });
});
