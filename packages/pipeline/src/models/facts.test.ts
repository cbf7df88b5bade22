import { createMemoryFiles } from '@kvlr/checkpoint';
import { describe, expect, it } from 'vitest';
import { readLicence } from './facts.ts';

const licenceOf = (card: string) => readLicence(createMemoryFiles({ 'README.md': card }));

describe('readLicence', () => {
  it('reads the metadata of the model card', async () => {
    expect(await licenceOf('---\nlanguage: en\nlicense: mit\n---\n# Model\n')).toBe('mit');
    expect(await licenceOf('---\r\nlicense: other\r\nlicense_name: llama3\r\n---\r\n')).toBe('llama3');
  });

  it.each([
    '# Model\n\nlicense: mit\n',
    '---\nlanguage: en\n---\n',
    '---\nlicense: unknown\n---\n',
    '---\nlicense: [mit, other]\n---\n',
    '---\nlicense: "mit\n---\n',
    '---\njust words\n---\n',
  ])('finds none in %j', async (card) => {
    expect(await licenceOf(card)).toBeUndefined();
  });

  it('finds none without a card', async () => {
    expect(await readLicence(createMemoryFiles({ 'config.json': '{}' }))).toBeUndefined();
  });
});
