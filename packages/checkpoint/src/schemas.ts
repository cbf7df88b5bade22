export { architectureFromJson } from './architectures/schema.ts';
