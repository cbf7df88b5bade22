import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { builtinModules, createRequire } from 'node:module';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const types = {
  '.mjs': 'text/javascript',
  '.js': 'text/javascript',
  '.wasm': 'application/wasm',
  '.json': 'application/json',
};

/** Libraries import modules of Node in parts that a browser never runs. */
const emptyBuiltins = {
  name: 'empty-builtins',
  setup(bundler) {
    const filter = new RegExp(`^(node:.*|${builtinModules.join('|')})$`);
    bundler.onResolve({ filter }, ({ path }) => ({ path, namespace: 'empty' }));
    bundler.onLoad({ filter: /.*/, namespace: 'empty' }, () => ({ contents: 'module.exports = {};' }));
  },
};

/** transformers.js takes the ONNX Runtime that the page serves. */
const servedRuntime = {
  name: 'served-runtime',
  setup(bundler) {
    const served = { path: '/ort/ort.webgpu.bundle.min.mjs', external: true };
    bundler.onResolve({ filter: /^onnxruntime-web\/webgpu$/ }, () => served);
  },
};

/** Bundles the page and serves it with the engines' wasm files. `folders`: name in the URL -> directory. */
export async function servePage(folders) {
  const require = createRequire(import.meta.url);
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('main.mjs', import.meta.url))],
    ...{ bundle: true, format: 'esm', platform: 'browser', target: 'es2022', write: false, external: ['/ort/*'] },
    plugins: [servedRuntime, emptyBuiltins],
  });
  const roots = {
    ...folders,
    ort: dirname(require.resolve('onnxruntime-web')),
    tfjs: dirname(require.resolve('@tensorflow/tfjs-backend-wasm')),
  };
  const server = createServer(async ({ url, headers }, response) => {
    const path = normalize(decodeURIComponent(new URL(url, 'http://localhost').pathname));
    if (path === '/')
      return response.setHeader('content-type', 'text/html').end('<script type="module" src="/main.js"></script>');
    if (path === '/main.js') return response.setHeader('content-type', types['.js']).end(outputFiles[0].contents);
    const [, folder, ...rest] = path.split('/');
    const file = folder in roots ? join(roots[folder], ...rest) : undefined;
    const size =
      file &&
      (await stat(file).then(
        (found) => (found.isFile() ? found.size : undefined),
        () => undefined,
      ));
    if (size === undefined) return response.writeHead(404).end();
    const type = { 'content-type': types[extname(file)] ?? 'application/octet-stream', 'accept-ranges': 'bytes' };
    const range = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '');
    const start = range ? Number(range[1]) : 0;
    const end = range?.[2] ? Math.min(Number(range[2]), size - 1) : size - 1;
    const part = range ? { 'content-range': `bytes ${start}-${end}/${size}` } : {};
    response.writeHead(range ? 206 : 200, { ...type, ...part, 'content-length': end - start + 1 });
    createReadStream(file, { start, end }).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}
