import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// The node whose API the page talks to while it is developed: `npm run fake`, or a real one.
const node = process.env.EXO_NODE ?? 'http://127.0.0.1:52499';
const passed = { target: node, changeOrigin: true };

export default defineConfig(({ mode }) => ({
  plugins: [svelte()],
  // Tests mount components: they need Svelte's browser half.
  resolve: mode === 'test' ? { conditions: ['browser'] } : {},
  build: {
    target: 'es2022',
    // Everything has a name of its own under assets/, nothing is inlined: the node's
    // Content-Security-Policy allows neither inline scripts nor inline styles.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // A round trip more costs more than bytes: one file of styles, and no file for a few lines that views share.
    cssCodeSplit: false,
    rollupOptions: { output: { experimentalMinChunkSize: 16_000 } },
  },
  server: { proxy: { '/v1': passed, '/api': passed, '/metrics': passed, '/health': passed } },
  test: { environment: 'happy-dom', include: ['src/**/*.test.ts'] },
}));
