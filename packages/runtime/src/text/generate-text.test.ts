import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { scriptedDecoder } from '../testing/scripted-decoder.ts';
import { type GeneratedText, generateText, type TextSettings } from './generate-text.ts';

/** One token for each byte of UTF-8; 256 ends a text. */
const byteTokenizer = {
  endOfSequenceIds: [256],
  decode: (ids: readonly number[]) => new TextDecoder().decode(Uint8Array.from(ids.filter((id) => id < 256))),
};
const bytesOf = (text: string): number[] => [...new TextEncoder().encode(text)];

async function say(tokenIds: readonly number[], settings: TextSettings = {}, prompt = 'Say: ') {
  const decoder = scriptedDecoder(tokenIds);
  const steps: GeneratedText[] = [];
  for await (const step of generateText(decoder, byteTokenizer, bytesOf(prompt), settings)) steps.push(step);
  return { decoder, steps, text: steps.map(({ text }) => text).join(''), end: steps.at(-1)!.finishReason };
}

describe('generateText', () => {
  it('hands out whole characters only', async () => {
    const { steps, text, end } = await say([...bytesOf('a—é🐳z'), 256]);
    expect(text).toBe('a—é🐳z');
    expect(end).toBe('end');
    for (const step of steps) expect(['a', '—', 'é', '🐳', 'z', '']).toContain(step.text);
  });

  it('gives back any text, however it is cut off', async () => {
    const settings = { numRuns: 100 };
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }), async (text) => {
        expect((await say([...bytesOf(text), 256])).text).toBe(text);
        expect((await say(bytesOf(text), { maxNewTokens: bytesOf(text).length })).text).toBe(text);
      }),
      settings,
    );
  });

  it('hands out whole characters where tokens end in one and begin the next', async () => {
    const bytes = bytesOf('你奘早晰灑');
    const cuts = [2, 4, 5, 7, 8, 10, 11, 13, 15];
    const pieces = cuts.map((cut, index) => bytes.slice(cuts[index - 1] ?? 0, cut));
    const tokenizer = {
      endOfSequenceIds: [99],
      decode: (ids: readonly number[]) =>
        new TextDecoder().decode(Uint8Array.from(ids.flatMap((id) => pieces[id] ?? []))),
    };
    const said: string[] = [];
    const ids = [...pieces.keys(), 99];
    for await (const { text } of generateText(scriptedDecoder(ids), tokenizer, [])) said.push(text);
    expect(said).toEqual(['', '你', '', '奘', '', '早', '', '晰', '灑', '']);
  });

  it('holds back the beginning of a character in whose middle the text is cut off', async () => {
    for (const maxNewTokens of [3, 4, 5]) expect((await say(bytesOf('é🙂'), { maxNewTokens })).text).toBe('é');
    expect((await say(bytesOf('é🙂'), { maxNewTokens: 6 })).text).toBe('é🙂');
  });

  it('gives back long texts that never end with a character', async () => {
    const text = '你'.repeat(100);
    const shifted = [0x20, ...bytesOf(text)];
    const pairs = Array.from({ length: 150 }, (_, index) => shifted.slice(2 * index, 2 * index + 2));
    const tokenizer = {
      endOfSequenceIds: [],
      decode: (ids: readonly number[]) =>
        new TextDecoder().decode(Uint8Array.from(ids.flatMap((id) => pairs[id] ?? []))),
    };
    let received = '';
    for await (const step of generateText(scriptedDecoder([...pairs.keys()]), tokenizer, [])) received += step.text;
    expect(received).toBe(` ${text.slice(1)}`);
  });

  it('does not wait for ever for a character that never comes', async () => {
    const { text } = await say([0xf0, 0x41, 0x42, 256]);
    expect(text).toBe('\uFFFDAB');
    expect((await say([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 256])).text).toBe('\uFFFD'.repeat(6));
    expect((await say([0xff, 0xff, 0xff, 0xff, 0xff, 0xff], { maxNewTokens: 6 })).text).toBe('\uFFFD'.repeat(3));
  });

  it('ends at a stop string, wherever the tokens lie, and does not hand it out', async () => {
    const { text, end, decoder } = await say(bytesOf('one. Two. END. Three'), { stop: 'END' });
    expect([text, end]).toEqual(['one. Two. ', 'stop']);
    expect(decoder.said).toBe('one. Two. END'.length);
    expect(decoder.freed).toBe(true);
  });

  it('takes the earliest of several stop strings', async () => {
    expect((await say(bytesOf('ab\n\ncd</s>'), { stop: ['</s>', '\n\n', 'cd'] })).text).toBe('ab');
  });

  it('hands out what only looked like a stop string', async () => {
    expect((await say([...bytesOf('a ENx EN'), 256], { stop: ['END'] })).text).toBe('a ENx EN');
    expect(await say(bytesOf('EEEND'), { stop: 'END' })).toMatchObject({ text: 'EE', end: 'stop' });
  });

  it('finds what indexOf finds', async () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 12 });
    const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 4 }), {
      maxLength: 3,
    });
    await fc.assert(
      fc.asyncProperty(letters, stops, async (text, stop) => {
        const ends = stop.map((one) => text.indexOf(one)).filter((position) => position >= 0);
        const { text: received, end } = await say([...bytesOf(text), 256], { stop });
        // A shorter stop string that is complete wins over a longer one that begins earlier.
        if (ends.length === 0) expect([received, end]).toEqual([text, 'end']);
        else {
          expect(end).toBe('stop');
          expect(text.startsWith(received)).toBe(true);
          for (const one of stop) expect(received).not.toContain(one);
        }
      }),
    );
  });

  it('says why it ended, at most so many tokens, and passes on how to choose', async () => {
    const sampling = { temperature: 0.5, topK: 3, topP: 0.9, repetitionPenalty: 1.1, seed: 4, logprobs: true };
    const { steps, decoder, end } = await say(bytesOf('abcdef'), { ...sampling, maxNewTokens: 3 });
    expect([steps.length, end]).toEqual([3, 'length']);
    expect(decoder.asked[0]).toEqual({ promptIds: bytesOf('Say: '), settings: { ...sampling, maxNewTokens: 3 } });
    expect(steps[2]).toMatchObject({ tokenId: 99, logprob: -2, timing: { milliseconds: 2, sinceStart: 6 } });
  });

  it('ends where the context is full, and says so', async () => {
    const decoder = scriptedDecoder(bytesOf('abcdefgh'), 6);
    const steps: GeneratedText[] = [];
    for await (const step of generateText(decoder, byteTokenizer, bytesOf('1234'))) steps.push(step);
    expect(steps.map(({ text }) => text).join('')).toBe('abc');
    expect(steps.map(({ finishReason }) => finishReason)).toEqual([undefined, undefined, 'context-full']);
  });

  it('refuses an empty stop string', async () => {
    await expect(say([], { stop: '' })).rejects.toMatchObject({ code: 'invalid-argument' });
  });
});
