import { softwareGpuSettings, useSoftwareGpu } from '@kvlr/testkit';
import { type BackendName, probeWebGpu } from '../backends/select-backend.ts';
import { prepareNodeRuntime } from '../node/prepare-node-runtime.ts';

/** For tests: every backend, with the reason why it cannot be tested here, if it cannot. */
export async function testedBackends(): Promise<{ backend: BackendName; skip: string | false }[]> {
  const noSoftwareGpu = useSoftwareGpu();
  const { webgpuProblem } = await prepareNodeRuntime({ dawn: softwareGpuSettings });
  const adapter = await probeWebGpu();
  const reason = webgpuProblem ?? `no Vulkan adapter: neither a GPU nor a software one (${noSoftwareGpu})`;
  return [
    { backend: 'cpu', skip: false },
    { backend: 'wasm', skip: false },
    { backend: 'webgpu', skip: adapter === undefined && reason },
  ];
}
