import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expectKvlrError } from '@kvlr/testkit';
import { afterEach, describe, expect, it } from 'vitest';
import { guardedFetch, isPlainName } from './guarded-fetch.ts';
import { createHubFiles, listHubFiles, parseHubId } from './hub.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

const serve = async (answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> => {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
};

describe('a server that is not sound', () => {
  it('sends no more than was asked for', async () => {
    const url = await serve((request, response) => {
      response.writeHead(request.headers.range === undefined ? 200 : 206);
      const more = () => response.write(Buffer.alloc(1000), (error) => error ?? setTimeout(more, 1));
      more();
    });
    const limited = guardedFetch({ maxBytes: 5000 });
    await expectKvlrError(async () => (await limited(url)).text(), 'network', 'more than 5000 bytes');
    const ranged = async () => (await guardedFetch({})(url, { headers: { Range: 'bytes=10-29' } })).arrayBuffer();
    await expectKvlrError(ranged, 'network', 'more than 20 bytes');
  });

  it('neither drips nor keeps silent', async () => {
    const drip = await serve((_, response) => {
      const timer = setInterval(() => response.write('x'), 5);
      response.on('close', () => clearInterval(timer));
    });
    const quick = guardedFetch({ pauseMilliseconds: 100 });
    await expectKvlrError(async () => (await quick(drip)).text(), 'network', 'fewer than');
    const silent = await serve(() => {});
    await expectKvlrError(() => quick(silent), 'network', 'no answer');
  });

  it('is told no token of another, in whatever header', async () => {
    const told: string[] = [];
    const url = await serve((request, response) => {
      told.push(JSON.stringify(request.headers));
      response.end();
    });
    const request = { headers: { Authorization: 'Bearer hf_secret', 'X-Token': 'hf_secret', Accept: 'text/plain' } };
    const send = (origin: string) => guardedFetch({ secret: { token: 'hf_secret', origin } })(url, request);
    await send('https://hub.example');
    await send(url);
    expect(told[0]).not.toContain('hf_secret');
    expect(told[0]).toContain('text/plain');
    expect(told[1]).toContain('hf_secret');
  });

  it('ends a listing, and takes no token elsewhere by the link to its next page', async () => {
    let pages = 0;
    const other = await serve((request, response) => {
      pages++;
      expect(request.headers.authorization).toBeUndefined();
      response.setHeader('Link', `<${other}/next>; rel="next"`).end('[]');
    });
    const hub = await serve((_, response) => response.setHeader('Link', `<${other}/next>; rel="next"`).end('[]'));
    const listing = () => listHubFiles({ hubUrl: hub, accessToken: 'hf_secret' }, 'team/tiny', 'main');
    await expectKvlrError(listing, 'network', 'more than 100 pages');
    expect(pages).toBe(99);
  });

  it('names no files, sizes or hashes that are none', async () => {
    const oid = 'a'.repeat(40);
    const good = { type: 'file', path: 'config.json', size: 2, oid };
    const bad = [
      ...[
        '../config.json',
        '..\\config.json',
        'a\\b.json',
        'aux.json',
        'c:.json',
        'x\0.json',
        `${'x'.repeat(255)}.json`,
        5,
        null,
      ],
    ].map((path) => ({ ...good, path }));
    const wrong = [{ size: -1 }, { size: 1.5 }, { size: '2' }, { oid: '../x' }, { oid: 5 }].map((change) => ({
      ...good,
      ...change,
    }));
    const hub = await serve((_, response) => response.end(JSON.stringify([...bad, ...wrong, good])));
    expect(await createHubFiles('team/tiny', { hubUrl: hub }).list()).toEqual(['config.json']);
    expect(await listHubFiles({ hubUrl: hub }, 'team/tiny', 'main')).toHaveLength(1);
  });
});

describe('names that become paths', () => {
  it('are one step, on every system', () => {
    for (const name of ['config.json', 'LICENSE', 'a-1 (2).json', 'model-00001-of-00002.safetensors']) {
      expect([name, isPlainName(name)]).toEqual([name, true]);
    }
    for (const name of [
      '',
      '.',
      '..',
      '.git',
      'a/b',
      'a\\b',
      'NUL',
      'com1.json',
      'a.',
      'a ',
      'a:b',
      'a\n',
      7,
      undefined,
    ]) {
      expect([name, isPlainName(name)]).toEqual([name, false]);
    }
  });

  it('are those of revisions, too', () => {
    expect(parseHubId('team/tiny@refs/pr/1')?.revision).toBe('refs/pr/1');
    for (const revision of ['../../x', 'a/../b', '/a', 'a//b', 'a/', '.git']) {
      expect([revision, parseHubId(`team/tiny@${revision}`)]).toEqual([revision, undefined]);
    }
  });
});
