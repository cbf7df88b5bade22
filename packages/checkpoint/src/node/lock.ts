import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KvlrError } from '@kvlr/core';

/** How long the holder of a place has to say who it is. */
const answerMilliseconds = 500;

/**
 * Holds a place, named by its real path, against every other run on this machine until `release`, or until the process ends, however
 * it ends: what is held is a listening socket, which the operating system takes back.
 *
 * Throws 'in-use' at once, with the process that holds it in `data.process`.
 */
export async function holdPlace(path: string): Promise<{ release(): Promise<void> }> {
  const address = addressOf(path);
  let server = await listen(address);
  if (server === undefined) {
    const holder = await askHolder(address);
    // Where sockets are files, a killed process leaves one at which nobody answers.
    if (holder === 'nobody' && !address.startsWith('\0')) {
      await rm(address, { force: true });
      server = await listen(address);
    }
    if (server === undefined) throw inUse(path, holder);
  }
  const held = server;
  return { release: () => new Promise((resolve) => held.close(() => resolve())) };
}

/** Linux has names of sockets that are no files, Windows has pipes; elsewhere it is a file among the temporary ones. */
export function addressOf(path: string): string {
  const name = `kvlr-${createHash('sha256').update(path).digest('hex').slice(0, 32)}`;
  if (process.platform === 'linux') return `\0${name}`;
  return process.platform === 'win32' ? `\\\\.\\pipe\\${name}` : join(tmpdir(), name);
}

/** Undefined where another one listens. */
function listen(address: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.end(String(process.pid));
    });
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen(address, () => resolve(server.unref()));
  });
}

/** The number of the process that listens; 'nobody' where none does, 'unknown' where it does not say. */
function askHolder(address: string): Promise<number | 'nobody' | 'unknown'> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect(address);
    const finish = (holder: number | 'nobody' | 'unknown') => {
      socket.destroy();
      resolve(holder);
    };
    socket.setTimeout(answerMilliseconds, () => finish('unknown'));
    socket.on('error', () => finish('nobody'));
    socket.on('data', (bytes) => {
      answer += bytes;
    });
    socket.on('end', () => finish(/^\d+$/.test(answer) ? Number(answer) : 'unknown'));
  });
}

function inUse(path: string, holder: number | 'nobody' | 'unknown'): KvlrError {
  const who = typeof holder === 'number' ? `process ${holder}` : 'another process';
  return new KvlrError('in-use', {
    message: `expected a place that no other run writes to, got one that ${who} writes to`,
    hint: 'Wait until it has finished, or choose another place.',
    where: { file: path },
    data: { path, process: typeof holder === 'number' ? holder : undefined },
  });
}
