/** Folder of the tasks that come with this package, one YAML file each. */
export const taskFolder = new URL('../tasks/', import.meta.url);
