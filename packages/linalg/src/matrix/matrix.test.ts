import { describe, expect, it } from 'vitest';
import { expectKvlrError, fromPeer, randomMatrix, toPeer } from '../../test-support/matrices.ts';
import { blockDiagonal } from './block-diagonal.ts';
import { createComplexMatrix } from './create-complex-matrix.ts';
import { createMatrix } from './create-matrix.ts';
import { identity } from './identity.ts';
import { selectBlock } from './select-block.ts';
import { transpose } from './transpose.ts';

describe('createMatrix and createComplexMatrix', () => {
  it('make zeros, or wrap the given numbers without copying', () => {
    const data = Float64Array.of(1, 2, 3, 4, 5, 6);
    expect(createMatrix(2, 3, data).data).toBe(data);
    expect([...createMatrix(1, 2).data]).toEqual([0, 0]);
    expect([...createComplexMatrix(1, 1).real, ...createComplexMatrix(1, 1).imag]).toEqual([0, 0]);
  });

  it('refuse sizes that are not counts and data that do not fit', () => {
    expectKvlrError(() => createMatrix(2, 1.5), 'invalid-argument', /createMatrix: expected cols .*1.5/);
    expectKvlrError(() => createComplexMatrix(-1, 1), 'invalid-argument', /rows .*-1/);
    expectKvlrError(() => createMatrix(2, 2, new Float64Array(3)), 'invalid-argument', /4 numbers for 2x2, got 3/);
  });
});

describe('identity', () => {
  it('has ones on the diagonal', () => {
    expect([...identity(3).data]).toEqual([1, 0, 0, 0, 1, 0, 0, 0, 1]);
  });
});

describe('transpose', () => {
  it('agrees with ml-matrix beyond one tile', () => {
    const a = randomMatrix(37, 18, 1);
    expect(transpose(a)).toEqual(fromPeer(toPeer(a).transpose()));
  });
});

describe('selectBlock', () => {
  it('takes rows and columns in the given order', () => {
    const a = createMatrix(2, 3, Float64Array.of(1, 2, 3, 4, 5, 6));
    expect(selectBlock(a, [1, 0], [2, 0])).toEqual({ rows: 2, cols: 2, data: Float64Array.of(6, 4, 3, 1) });
  });

  it('refuses indices outside the matrix', () => {
    expectKvlrError(() => selectBlock(identity(2), [0], [2]), 'invalid-argument', /column indices from 0 to 1, got 2/);
    expectKvlrError(() => selectBlock(identity(2), [-1], [0]), 'invalid-argument', /row indices .*got -1/);
  });
});

describe('blockDiagonal', () => {
  it('puts blocks of different shapes down the diagonal', () => {
    const result = blockDiagonal([
      createMatrix(1, 2, Float64Array.of(1, 2)),
      createMatrix(2, 1, Float64Array.of(3, 4)),
    ]);
    expect(result).toEqual({ rows: 3, cols: 3, data: Float64Array.of(1, 2, 0, 0, 0, 3, 0, 0, 4) });
  });
});
