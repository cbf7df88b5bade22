import { expect, it } from 'vitest';
import { findArchitecture } from './families.ts';

it.each([
  ['qwen3_moe', 'expert layers'],
  ['granitemoe', 'expert layers'],
  ['deepseek_v3', 'latent attention'],
  ['lfm2', 'convolutions'],
  ['mamba', 'keep a state'],
  ['gemma3', 'text model alone'],
  ['gpt_imaginary', 'ArchitectureDescriptor'],
])('says what can be done about %s', (modelType, part) => {
  expect(() => findArchitecture(modelType)).toThrow(
    expect.objectContaining({ code: 'unknown-architecture', hint: expect.stringContaining(part) }),
  );
});

it('takes an additional family before its own', () => {
  const own = { ...findArchitecture('llama'), name: 'own' };
  expect(findArchitecture('llama', [own])).toBe(own);
});
