// One opossum whose calls fail or succeed as they are told, with opossum-prometheus beside it.
'use strict';

const http = require('node:http');
const CircuitBreaker = require('opossum');
const PrometheusMetrics = require('opossum-prometheus');

const [host, port] = process.argv[2].split(':');
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function work({ good, holdMs }) {
  await sleep(holdMs);
  if (!good) throw new Error('told to fail');
  return 'well';
}

const breaker = new CircuitBreaker(work, {
  name: 'orders', timeout: 5000, resetTimeout: 1000, errorThresholdPercentage: 50, volumeThreshold: 5,
});
if (process.argv[3] === 'listens') breaker.on('halfOpen', () => {}); // only then is the event counted
const { register } = require('prom-client');
const metrics = new PrometheusMetrics({ circuits: [breaker], registry: register });

http.createServer(async (request, response) => {
  const url = new URL(request.url, 'http://target');
  if (url.pathname === '/metrics') {
    response.end(await metrics.metrics);
    return;
  }
  try {
    const told = { good: url.searchParams.get('good') === 'true', holdMs: Number(url.searchParams.get('holdMs') || 0) };
    response.end(await breaker.fire(told));
  } catch (error) {
    response.statusCode = error.code === 'EOPENBREAKER' ? 503 : 502;
    response.end(String(error));
  }
}).listen(Number(port), host);
