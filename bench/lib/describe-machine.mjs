import { cpus, loadavg, totalmem } from 'node:os';

/** The machine line of a result: processors, memory, and how busy they are with other things. */
export function describeMachine() {
  const processors = cpus();
  const gibibytes = (totalmem() / 2 ** 30).toFixed(1);
  const load = loadavg()[0].toFixed(1);
  return {
    machine: `${processors.length} x ${processors[0].model.trim()}, ${gibibytes} GiB of memory, load ${load} before the run`,
    versions: { node: process.versions.node },
    date: new Date().toISOString(),
  };
}
