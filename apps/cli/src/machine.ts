import { cpus, totalmem } from 'node:os';
import { formatBytes, type RunEnvironment } from '@kvlr/report';
import { version } from '../package.json';

/** Largest resident memory of this process so far, bytes. */
export function peakMemoryBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** What reports say of the machine. */
export function describeMachine(): Partial<RunEnvironment> {
  const processors = cpus();
  return {
    machine: `${processors.length} x ${processors[0]?.model.trim() ?? 'processor'}, ${formatBytes(totalmem())} of memory`,
    peakMemoryBytes: peakMemoryBytes(),
    versions: { kvlr: version, node: process.versions.node },
    date: new Date().toISOString(),
  };
}
