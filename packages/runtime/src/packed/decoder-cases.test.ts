import { describe, expect, it } from 'vitest';
import { decoderCases, runDecoderCase } from '../testing/decoder-cases.ts';
import { expectCaseLogits } from '../testing/expect-case-logits.ts';
import { testedBackends } from '../testing/tested-backends.ts';

describe.each(await testedBackends())('a packed decoder on $backend', ({ backend, skip }) => {
  it.skipIf(skip).each(decoderCases)(`has the oracle's logits: $name${skip ? ` (${skip})` : ''}`, async (given) => {
    const { logits, dispatches } = await runDecoderCase(given, backend);
    await expectCaseLogits(given, logits);
    expect(dispatches).toBe(backend === 'webgpu' ? given.dispatches : 0);
  });
});
