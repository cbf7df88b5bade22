// Times @kvlr/linalg beside ml-matrix and LAPACK (numpy in python3, one thread; left out where it is absent) in one run.
// Build first (`npx tsup` here and in ../core), then: node bench/linalg.mjs
// Figures are the least CPU time of several runs; the libraries take turns, so that a busy machine is busy for all of them.
import { execFileSync } from 'node:child_process';
import { EigenvalueDecomposition, Matrix as PeerMatrix, QrDecomposition, SingularValueDecomposition } from 'ml-matrix';
import {
  createMatrix,
  eigSymmetric,
  eigSymmetricTop,
  multiply,
  qr,
  SecondMoment,
  svd,
  transpose,
} from '../dist/index.js';

const repetitions = 4;

const lapackProgram = `
import sys, time
import numpy
work = {
    'eigh': lambda a: numpy.linalg.eigh(gram),
    'multiply': lambda a: a @ a,
    'qr': lambda a: numpy.linalg.qr(a),
    'svd': lambda a: numpy.linalg.svd(a),
}[sys.argv[1]]
a = numpy.random.default_rng(1).uniform(-1, 1, (int(sys.argv[2]), int(sys.argv[2])))
gram = a @ a.T
best = float('inf')
for _ in range(5):
    start = time.process_time()
    work(a)
    best = min(best, time.process_time() - start)
print(best)
`;

/** Least seconds of a LAPACK routine on a random size x size matrix; undefined without python3 or numpy. */
function lapackSeconds(routine, size) {
  const oneThread = { OPENBLAS_NUM_THREADS: '1', OMP_NUM_THREADS: '1', MKL_NUM_THREADS: '1' };
  try {
    const printed = execFileSync('python3', ['-c', lapackProgram, routine, String(size)], {
      env: { ...process.env, ...oneThread },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return Number(printed);
  } catch {
    return undefined;
  }
}

/** Least CPU seconds of each of these functions, which take turns. */
function leastSeconds(works) {
  const least = works.map(() => Number.POSITIVE_INFINITY);
  for (let repetition = 0; repetition < repetitions; repetition += 1) {
    works.forEach((work, index) => {
      const before = process.cpuUsage();
      work();
      const { user, system } = process.cpuUsage(before);
      least[index] = Math.min(least[index], (user + system) / 1e6);
    });
  }
  return least;
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

const toPeer = (matrix) => PeerMatrix.from1DArray(matrix.rows, matrix.cols, matrix.data);
const milliseconds = (seconds) => `${(seconds * 1000).toFixed(1).padStart(7)} ms`;

/** Prints our time, how many times ours the peer's is, and which part of ours LAPACK's is. */
function compare(name, ours, theirs, { lapack, operations } = {}) {
  const [own, peer] = leastSeconds(theirs === undefined ? [ours] : [ours, theirs]);
  let line = `${name.padEnd(38)} ${milliseconds(own)}`;
  if (peer !== undefined) line += `   ml-matrix ${milliseconds(peer)}, ${(peer / own).toFixed(2)} times ours`;
  const reference = lapack === undefined ? undefined : lapackSeconds(...lapack);
  if (reference !== undefined)
    line += `   LAPACK ${milliseconds(reference)}, ours is ${(own / reference).toFixed(1)} times that`;
  if (operations !== undefined) line += `   ${(operations / own / 1e9).toFixed(2)} GFLOP/s`;
  console.log(line);
}

if (lapackSeconds('multiply', 4) === undefined) console.log('LAPACK: absent (python3 with numpy not found)');

for (const size of [256, 512]) {
  const factor = randomMatrix(size, size);
  const peerFactor = toPeer(factor);
  const symmetric = multiply(factor, transpose(factor));
  const peerSymmetric = toPeer(symmetric);
  compare(
    `eigSymmetric ${size}x${size}`,
    () => eigSymmetric(symmetric),
    () => new EigenvalueDecomposition(peerSymmetric, { assumeSymmetric: true }),
    { lapack: ['eigh', size] },
  );
  compare(
    `multiply ${size}x${size}`,
    () => multiply(factor, factor),
    () => peerFactor.mmul(peerFactor),
    { lapack: ['multiply', size], operations: 2 * size ** 3 },
  );
  compare(
    `qr ${size}x${size}`,
    () => qr(factor),
    () => new QrDecomposition(peerFactor).orthogonalMatrix,
    { lapack: ['qr', size] },
  );
  if (size === 256) {
    compare(
      `svd ${size}x${size}`,
      () => svd(factor),
      () => new SingularValueDecomposition(peerFactor),
      { lapack: ['svd', size] },
    );
  }
}

const size = 512;
const { q } = qr(randomMatrix(size, size));
for (const [spectrum, value] of [
  ['1 / (k + 1)^2', (k) => (k + 1) ** -2],
  ['1 - k / 512', (k) => 1 - k / size],
]) {
  const scaled = createMatrix(
    size,
    size,
    Float64Array.from(q.data, (entry, index) => entry * value(index % size)),
  );
  const symmetric = multiply(scaled, transpose(q));
  compare(`eigSymmetricTop 8 of 512, ${spectrum}`, () => eigSymmetricTop(symmetric, 8));
}

const rows = Float32Array.from(randomMatrix(512, 256).data);
const moment = new SecondMoment(256);
compare('SecondMoment.add 512 rows of 256', () => moment.add(rows, 512), undefined, { operations: 512 * 256 * 257 });
