#!/usr/bin/env node
// A file that is there before the build, so that a package manager can link it.
import '../dist/main.js';
