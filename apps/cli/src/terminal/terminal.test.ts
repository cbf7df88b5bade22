import { execFile } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { expect, it } from 'vitest';
import { exitOnClosedPipe } from './terminal.ts';

it('ends the program, as done, when its reader has closed the pipe', () => {
  const stream = new EventEmitter();
  const codes: number[] = [];
  exitOnClosedPipe([stream], (code) => codes.push(code));
  stream.emit('error', Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
  expect(codes).toEqual([0]);
  const full = Object.assign(new Error('no space left'), { code: 'ENOSPC' });
  expect(() => stream.emit('error', full)).toThrow(full);
});

it('is quiet in a pipe that is closed early', async () => {
  const script = `
    ${exitOnClosedPipe}
    exitOnClosedPipe([process.stdout, process.stderr], (code) => process.exit(code));
    setInterval(() => process.stdout.write('a line\\n'.repeat(1000)), 1);`;
  const child = execFile(process.execPath, ['-e', script]);
  let errors = '';
  child.stderr!.on('data', (chunk) => {
    errors += chunk;
  });
  child.stdout!.once('data', () => child.stdout!.destroy());
  const code = await new Promise((resolve) => child.once('close', resolve));
  expect([code, errors]).toEqual([0, '']);
});
