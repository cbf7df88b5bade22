// Times @kvlr/linalg beside ml-matrix in one run. Build first (`npx tsup` here and in ../core), then: node bench/linalg.mjs
import { EigenvalueDecomposition, Matrix as PeerMatrix, QrDecomposition, SingularValueDecomposition } from 'ml-matrix';
import { createMatrix, eigSymmetric, multiply, qr, SecondMoment, svd, transpose } from '../dist/index.js';

const repetitions = 3;

function bestSeconds(work) {
  let best = Number.POSITIVE_INFINITY;
  for (let repetition = 0; repetition < repetitions; repetition += 1) {
    const start = performance.now();
    work();
    best = Math.min(best, (performance.now() - start) / 1000);
  }
  return best;
}

function randomMatrix(rows, cols) {
  let state = 1;
  const matrix = createMatrix(rows, cols);
  for (let index = 0; index < matrix.data.length; index += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    matrix.data[index] = state / 2 ** 31 - 1;
  }
  return matrix;
}

const toPeer = (matrix) =>
  new PeerMatrix(
    Array.from({ length: matrix.rows }, (_, row) =>
      Array.from(matrix.data.subarray(row * matrix.cols, (row + 1) * matrix.cols)),
    ),
  );

function printRow(name, ours, theirs, work) {
  const rate = work === undefined ? '' : `  ${(work / ours / 1e9).toFixed(2)} GFLOP/s`;
  const ratio =
    theirs === undefined ? '' : `  ml-matrix ${(theirs * 1000).toFixed(0)} ms  ratio ${(theirs / ours).toFixed(2)}`;
  console.log(`${name.padEnd(34)} ${(ours * 1000).toFixed(0).padStart(6)} ms${ratio}${rate}`);
}

for (const size of [256, 512]) {
  const factor = randomMatrix(size, size);
  const symmetric = multiply(factor, transpose(factor));
  const peer = toPeer(symmetric);
  printRow(
    `eigSymmetric ${size}x${size}`,
    bestSeconds(() => eigSymmetric(symmetric)),
    bestSeconds(() => new EigenvalueDecomposition(peer, { assumeSymmetric: true })),
  );
  const peerFactor = toPeer(factor);
  printRow(
    `multiply ${size}x${size}`,
    bestSeconds(() => multiply(factor, factor)),
    bestSeconds(() => peerFactor.mmul(peerFactor)),
    2 * size ** 3,
  );
  printRow(
    `qr ${size}x${size}`,
    bestSeconds(() => qr(factor)),
    bestSeconds(() => new QrDecomposition(peerFactor).orthogonalMatrix),
  );
  if (size === 256) {
    printRow(
      `svd ${size}x${size}`,
      bestSeconds(() => svd(factor)),
      bestSeconds(() => new SingularValueDecomposition(peerFactor)),
    );
  }
}

const rows = Float32Array.from(randomMatrix(512, 256).data);
const moment = new SecondMoment(256);
printRow(
  'SecondMoment.add 512 rows of 256',
  bestSeconds(() => moment.add(rows, 512)),
  undefined,
  512 * 256 * 257,
);
