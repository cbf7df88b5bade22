import { expect, it } from 'vitest';
import { findArchitecture } from './families.ts';

it.each([
  ['bloom', 'ALiBi'],
  ['qwen3', 'between their projections and RoPE'],
  ['gpt_neox', 'ArchitectureDescriptor'],
])('says what can be done about %s', (modelType, part) => {
  expect(() => findArchitecture(modelType)).toThrow(
    expect.objectContaining({ code: 'unknown-architecture', hint: expect.stringContaining(part) }),
  );
});

it('takes an additional family before its own', () => {
  const own = { ...findArchitecture('llama'), name: 'own' };
  expect(findArchitecture('llama', [own])).toBe(own);
});
