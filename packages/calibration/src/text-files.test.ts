import { gzipSync } from 'node:zlib';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { maxTextBytes, readTextFiles, requireTextSize } from './text-files.ts';

const bytes = (content: string | ArrayLike<number>): Uint8Array<ArrayBuffer> =>
  typeof content === 'string' ? new TextEncoder().encode(content) : Uint8Array.from(content);
const read = (name: string, content: string | ArrayLike<number>) => readTextFiles([{ name, bytes: bytes(content) }]);
const base64 = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));

const text = 'The old clerk counted boutons é, nine of brass, four of bone 🙂.\n';
const lines = ['one é', 'two'].map((line) => `${JSON.stringify({ text: line })}\n`).join('');
const documents = (source: string) => ['one é', 'two'].map((line) => ({ source, text: line }));

/** Columns id, text and source of three rows, the second text empty and the third source null; one row of a column content. */
const parquet = {
  snappy:
    'UEFSMRUEFTAVLkwVBhUAEgAAGAQBAAkBPAIAAAAAAAAAAwAAAAAAAAAVABUUFRgsFQYVEBUGFQYcAAAACiQCAAAABgECAyQAFQQVKhUuTBUGFQASAAAVUAYAAABvbmUgw6kAAAAAAwAAAHR3bxUAFRQVGCwVBhUQFQYVBhwAAAAKJAIAAAAGAQIDJAAVBBUUFRhMFQQVABIAAAokAQAAAGEBAAAAYhUAFRIVFiwVBhUQFQYVBhwAAAAJIAIAAAADAwEDAhUEGUw1ABgGc2NoZW1hFQYAFQQlAhgCaWQAFQwlAhgEdGV4dCUATBwAAAAVDCUCGAZzb3VyY2UlAEwcAAAAFgYZHBk8JgAcFQQZNQAGEBkYAmlkFQIWBhaGARaIASZSJggpLBUEFQAVAgAVABUQFQIAPCkGGSYABgAAACYAHBUMGTUABhAZGAR0ZXh0FQIWBhaAARaIASbaASaQASksFQQVABUCABUAFRAVAgA8FhIZBhkmAAYAAAAmABwVDBk1AAYQGRgGc291cmNlFQIWBhZoFnAmzAImmAIpLBUEFQAVAgAVABUQFQIAPBYEGQYZJgIEAAAAFu4CFgYmCBaAAwAoIHBhcnF1ZXQtY3BwLWFycm93IHZlcnNpb24gMjYuMC4xGTwcAAAcAAAcAAAALgEAAFBBUjE=',
  zstd: 'UEFSMRUEFTAVOkwVBhUAEgAAKLUv/SAYpQAAYAEAAgADAAAAAAAAAAIAYOABYAEVABUUFSYsFQYVEBUGFQYcAAAAKLUv/SAKUQAAAgAAAAYBAgMkABUEFSoVPEwVBhUAEgAAKLUv/SAVqQAABgAAAG9uZSDDqQAAAAADAAAAdHdvFQAVFBUmLBUGFRAVBhUGHAAAACi1L/0gClEAAAIAAAAGAQIDJAAVBBUUFSZMFQQVABIAACi1L/0gClEAAAEAAABhAQAAAGIVABUSFSQsFQYVEBUGFQYcAAAAKLUv/SAJSQAAAgAAAAMDAQMCFQQZTDUAGAZzY2hlbWEVBgAVBCUCGAJpZAAVDCUCGAR0ZXh0JQBMHAAAABUMJQIYBnNvdXJjZSUATBwAAAAWBhkcGTwmABwVBBk1AAYQGRgCaWQVDBYGFoYBFqIBJl4mCCksFQQVABUCABUAFRAVAgA8KQYZJgAGAAAAJgAcFQwZNQAGEBkYBHRleHQVDBYGFoABFqQBJoICJqoBKSwVBBUAFQIAFQAVEBUCADwWEhkGGSYABgAAACYAHBUMGTUABhAZGAZzb3VyY2UVDBYGFmgWjAEmkAMmzgIpLBUEFQAVAgAVABUQFQIAPBYEGQYZJgIEAAAAFu4CFgYmCBbSAwAoIHBhcnF1ZXQtY3BwLWFycm93IHZlcnNpb24gMjYuMC4xGTwcAAAcAAAcAAAALwEAAFBBUjE=',
  content:
    'UEFSMRUEFQoVDkwVAhUAEgAABRABAAAAeBUAFRIVFiwVAhUQFQYVBhwAAAAJIAIAAAACAQECABUEGSw1ABgGc2NoZW1hFQIAFQwlAhgHY29udGVudCUATBwAAAAWAhkcGRwmABwVDBk1AAYQGRgHY29udGVudBUCFgIWXhZmJjImCCksFQQVABUCABUAFRAVAgA8FgIZBhkmAAIAAAAWXhYCJggWZgAoIHBhcnF1ZXQtY3BwLWFycm93IHZlcnNpb24gMjYuMC4xGRwcAAAAmAAAAFBBUjE=',
};

describe('readTextFiles', () => {
  it.each([
    ['UTF-8', bytes(text)],
    ['UTF-8 behind a mark', bytes(`\uFEFF${text}`)],
    ['UTF-16, low byte first', Buffer.from(`\uFEFF${text}`, 'utf16le')],
    ['UTF-16, high byte first', Buffer.from(`\uFEFF${text}`, 'utf16le').swap16()],
    ['UTF-8 packed by gzip', gzipSync(text)],
    ['UTF-16 packed by gzip', gzipSync(Buffer.from(`\uFEFF${text}`, 'utf16le'))],
  ])('decodes %s', async (_, content) => {
    expect(await read('set.txt', content)).toEqual([{ source: 'set', text }]);
  });

  it('reads JSON lines whatever they are called and however their lines end', async () => {
    const windows = `\uFEFF${lines.replaceAll('\n', '\r\n')}\r\n\r\n`;
    for (const [name, content] of [
      ['docs.jsonl', lines],
      ['docs.json', lines],
      ['docs.jsonl', windows],
      ['docs.json', windows],
      ['docs.json.gz', gzipSync(lines)],
      ['docs.json', JSON.stringify([{ text: 'one é' }, 'two'], null, 2)],
      ['docs.jsonl', `{"text": ""}\n\n${lines}{"text": "   ", "source": null}\n`],
    ] as const) {
      expect(await read(`/texts/${name}`, content), name).toEqual(documents('docs'));
    }
    expect(await read('one.json', '{\n  "text": "a",\n  "source": "b"\n}')).toEqual([{ source: 'b', text: 'a' }]);
  });

  it.each(['snappy', 'zstd'] as const)('reads Parquet packed by %s', async (codec) => {
    const found = await read('rows.parquet', base64(parquet[codec]));
    expect(found).toEqual([
      { source: 'a', text: 'one é' },
      { source: 'rows', text: 'two' },
    ]);
  });

  const damaged = base64(parquet.snappy).fill(7, 40, 200);
  it.each<[string, string, string | ArrayLike<number>, RegExp]>([
    ['Latin-1', 'l.txt', Buffer.from(text.replace('🙂', ''), 'latin1'), /UTF-8, got other bytes in line 1/],
    ['half a character of UTF-16', 'u.txt', [0xff, 0xfe, 0x41], /UTF-16LE/],
    ['UTF-16 without a mark', 'u.txt', Buffer.from('word', 'utf16le'), /zeros in line 1/],
    ['zeros in a text', 'z.txt', 'one\ntwo\0\0', /zeros in line 2/],
    ['half a file of gzip', 'h.txt.gz', gzipSync(text.repeat(50)).subarray(0, 60), /whole file of gzip/],
    ['a zip archive', 'a.zip', 'PK\u0003\u0004', /zip/],
    ['a PDF', 'paper.pdf', '%PDF-1.7', /PDF/],
    ['what is called Parquet', 'rows.parquet', 'PAR1 and more bytes PAR1', /whole Parquet file/],
    ['damaged Parquet', 'rows.parquet', damaged, /whole Parquet file/],
    ['Parquet without texts', 'rows.parquet', base64(parquet.content), /column text, got the columns content/],
    ['other fields', 'content.jsonl', '{"content": "x"}', /in line 1, got the fields content/],
    ['another entry of a list', 'list.json', '["a", 3]', /in entry 2/],
  ])('refuses %s', async (_, name, content, message) => {
    const error = await expectKvlrError(() => read(name, content), 'file-malformed', message);
    expect(error.where.file).toBe(name);
    expect(error.hint).toMatch(/\w+ \w+/);
  });

  it('unpacks no more than it is allowed', async () => {
    const file = { name: 'endless.txt.gz', bytes: bytes(gzipSync(Buffer.alloc(10_000_000, 97))) };
    const attempt = () => readTextFiles([file], { maxBytes: 100_000 });
    await expectKvlrError(attempt, 'unsupported-feature', /endless.*at most 100000/);
    expectKvlrError(() => requireTextSize('long.txt', maxTextBytes + 1), 'unsupported-feature', /long\.txt/);
  });

  it('says which file has no text, and refuses a list of no files', async () => {
    await expectKvlrError(() => read('empty.txt.gz', gzipSync(' \n')), 'text-empty', /empty\.txt\.gz/);
    await expectKvlrError(() => readTextFiles([]), 'text-empty');
  });
});
