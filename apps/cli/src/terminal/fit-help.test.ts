import { describe, expect, it } from 'vitest';
import { fitHelp } from './fit-help.ts';

describe('fitHelp', () => {
  it('breaks paragraphs anew, and leaves headings and short lines alone', () => {
    const text = 'A sentence that was broken\nfor another width.\n\nExamples:\n  kvlr compress\n';
    expect(fitHelp(text, 50)).toBe('A sentence that was broken for another width.\n\nExamples:\n  kvlr compress\n');
    expect(fitHelp(text, 20)).toBe('A sentence that was\nbroken for another\nwidth.\n\nExamples:\n  kvlr compress\n');
  });

  it('goes on below where an explanation begins', () => {
    expect(fitHelp('  kvlr demo    the page, on this machine', 30)).toBe(
      '  kvlr demo    the page, on\n               this machine',
    );
  });

  it('breaks no word', () => {
    expect(fitHelp('a https://example.org/with/a/long/path b', 10)).toBe('a\nhttps://example.org/with/a/long/path\nb');
  });
});
