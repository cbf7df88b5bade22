import type { DenseTensor } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeTensorBundle, encodeTensorBundle } from './bundle.ts';
import { encodeSafetensors } from './write.ts';

describe('tensor bundle', () => {
  it('comes back bit for bit', () => {
    const data = fc.oneof(
      fc.array(fc.double()).map((numbers) => Float64Array.from(numbers)),
      fc.array(fc.float()).map((numbers) => Float32Array.from(numbers)),
    );
    const tensors = fc.dictionary(fc.string({ minLength: 1 }), data).map((record) => Object.entries(record));
    fc.assert(
      fc.property(tensors, fc.dictionary(fc.string(), fc.string()), (entries, metadata) => {
        fc.pre(entries.every(([name]) => name !== '__metadata__' && name !== '__proto__'));
        const bundle = {
          metadata: { ...metadata },
          tensors: new Map<string, DenseTensor>(
            entries.map(([name, values]) => [name, { shape: [values.length], data: values }]),
          ),
        };
        const decoded = decodeTensorBundle(encodeTensorBundle(bundle));
        expect(decoded.metadata).toEqual(bundle.metadata);
        expect(decoded.tensors).toEqual(bundle.tensors);
      }),
    );
  });

  it('keeps shapes, and views into larger arrays', () => {
    const data = Float64Array.from({ length: 10 }, (_, i) => i).subarray(2, 8);
    const bytes = encodeTensorBundle({ metadata: { a: 'ä' }, tensors: new Map([['m', { shape: [2, 3], data }]]) });
    const { metadata, tensors } = decodeTensorBundle(bytes);
    expect(metadata).toEqual({ a: 'ä' });
    expect(tensors.get('m')).toEqual({ shape: [2, 3], data: Float64Array.of(2, 3, 4, 5, 6, 7) });
  });

  it('refuses a shape that does not fit, other types, and cut files', async () => {
    const tensors = new Map([['m', { shape: [2, 2], data: new Float32Array(3) }]]);
    expectKvlrError(() => encodeTensorBundle({ metadata: {}, tensors }), 'tensor-shape', /4 numbers.*3/);
    const integers = encodeSafetensors([{ name: 'n', dtype: 'I32', shape: [1], bytes: new Uint8Array(4) }]);
    expectKvlrError(() => decodeTensorBundle(integers, 'stats'), 'file-malformed', /stats.*I32/);
    const whole = encodeTensorBundle({
      metadata: {},
      tensors: new Map([['m', { shape: [1], data: new Float32Array(1) }]]),
    });
    expectKvlrError(() => decodeTensorBundle(whole.slice(0, -1), 'stats'), 'file-truncated', 'stats');
  });
});
