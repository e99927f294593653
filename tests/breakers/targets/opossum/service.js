// A service in node: GET /call?key=K asks the dependency through an opossum breaker.
//
// node service.js --listen HOST:PORT --dependency HOST:PORT --log FILE
//
// The breaker opens when more than half of the calls of a rolling window failed, of which there must be
// `threshold`; it is half-open by a timer, without waiting for a call.  opossum stops waiting for a call that
// took too long but does not end it: the request is destroyed a little later, so that sockets do not pile up.

'use strict'

const fs = require('node:fs')
const http = require('node:http')
const { parseArgs } = require('node:util')
const CircuitBreaker = require('opossum')

const PASSED_ON = ['x-request-id', 'traceparent']
const LEFT_RUNNING_MS = 50

const { values: options } = parseArgs({
  options: {
    listen: { type: 'string' },
    dependency: { type: 'string' },
    log: { type: 'string' },
    'timeout-s': { type: 'string', default: '0.4' },
    threshold: { type: 'string', default: '5' },
    'threshold-percent': { type: 'string', default: '50' },
    'open-s': { type: 'string', default: '1.5' },
    'window-s': { type: 'string', default: '2' },
    'per-key': { type: 'boolean', default: false },
    capacity: { type: 'string' },
    fallback: { type: 'string', default: 'none' }
  }
})

const timeoutMs = Number(options['timeout-s']) * 1000
const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity })
const log = fs.openSync(options.log, 'a')

function address (text) {
  const colon = text.lastIndexOf(':')
  return { host: text.slice(0, colon), port: Number(text.slice(colon + 1)) }
}

const dependency = address(options.dependency)

function ask (key, headers) {
  return new Promise((resolve, reject) => {
    const path = `/item?key=${encodeURIComponent(key)}`
    const request = http.get({ ...dependency, path, headers, agent }, answer => {
      const pieces = []
      answer.on('data', piece => pieces.push(piece))
      answer.on('error', reject)
      answer.on('end', () => {
        if (answer.statusCode >= 500) reject(new Error(`the dependency said ${answer.statusCode}`))
        else resolve({ status: answer.statusCode, body: Buffer.concat(pieces) })
      })
    })
    const patience = setTimeout(() => request.destroy(), timeoutMs + LEFT_RUNNING_MS)
    request.on('close', () => clearTimeout(patience))
    request.on('error', reject)
  })
}

function recorded (name) {
  const breaker = new CircuitBreaker(ask, {
    name,
    timeout: timeoutMs,
    errorThresholdPercentage: Number(options['threshold-percent']),
    resetTimeout: Number(options['open-s']) * 1000,
    volumeThreshold: Number(options.threshold),
    ...(options.capacity && { capacity: Number(options.capacity) }),
    rollingCountTimeout: Number(options['window-s']) * 1000
  })
  let was = 'closed'
  const moved = to => () => {
    const at = Number(process.hrtime.bigint()) / 1e9
    fs.writeSync(log, JSON.stringify({ at, breaker: name, from: was, to }) + '\n')
    was = to
  }
  breaker.on('open', moved('open'))
  breaker.on('halfOpen', moved('half_open'))
  breaker.on('close', moved('closed'))
  return breaker
}

const breakers = new Map()

function chosen (key) {
  const name = options['per-key'] ? `dependency/${key}` : 'dependency'
  if (!breakers.has(name)) breakers.set(name, recorded(name))
  return breakers.get(name)
}

function say (response, status, body, headers = {}) {
  const whole = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body))
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': whole.length, ...headers })
  response.end(whole)
}

function sayWithout (response, key, error) {
  if (error.code === 'ETIMEDOUT') say(response, 504, { error: error.message })
  else if (error.code === 'ESEMLOCKED') say(response, 503, { error: error.message })
  else if (error.code !== 'EOPENBREAKER') say(response, 502, { error: error.message })
  else if (options.fallback === 'none') say(response, 503, { error: 'the breaker is open' })
  else say(response, 200, { key, value: null }, options.fallback === 'marked' ? { 'x-degraded': '1' } : {})
}

async function call (request, response) {
  const url = new URL(request.url, 'http://target')
  if (url.pathname !== '/call') return say(response, 404, { error: 'not found' })
  const key = url.searchParams.get('key') ?? ''
  const headers = Object.fromEntries(
    PASSED_ON.filter(name => name in request.headers).map(name => [name, request.headers[name]])
  )
  try {
    const { status, body } = await chosen(key).fire(key, headers)
    say(response, status, body)
  } catch (error) {
    sayWithout(response, key, error)
  }
}

const server = http.createServer({ keepAliveTimeout: 60_000 }, call)
const listen = address(options.listen)
server.listen(listen.port, listen.host)
process.on('SIGTERM', () => process.exit(0))
process.stdin.on('end', () => process.exit(0))
process.stdin.on('error', () => process.exit(0))
process.stdin.resume()
