#!/usr/bin/env node
// Compiles src/*.sol to artifacts/*.json, the ABIs and bytecode the whole project uses.
//
//   node contracts/compile.js           write the artifacts
//   node contracts/compile.js --check   compare them byte for byte with a fresh build; exit 1 on any difference
//
// The output depends on the code and the pinned compiler alone: no metadata hash (comments and paths do not
// change bytecode) and no AST ids (an edit in one file would mark another artifact stale).
'use strict'
const fs = require('fs')
const path = require('path')
const solc = require('solc')

const ROOT = __dirname
const ARTIFACTS = path.join(ROOT, 'artifacts')
const PUBLISHED = [
  'LedgerManager', 'LedgerManagerTestnet', 'InferenceServing', 'FineTuningServing', 'BeaconProxy', 'UpgradeableBeacon',
  'Flow', // 0G storage's, for the devnet
  'Puppet', // a contract wallet for tests and the devnet
]
const SETTINGS = {
  viaIR: true,
  evmVersion: 'istanbul', // what the networks' own contracts target
  optimizer: { enabled: true, runs: 200 },
  metadata: { bytecodeHash: 'none', appendCBOR: false },
  outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] } },
}

function readSources(directory) {
  const sources = {}
  for (const entry of fs.readdirSync(path.join(ROOT, directory), { withFileTypes: true })) {
    const name = `${directory}/${entry.name}`
    if (entry.isDirectory()) Object.assign(sources, readSources(name))
    else if (entry.name.endsWith('.sol')) sources[name] = { content: fs.readFileSync(path.join(ROOT, name), 'utf8') }
  }
  return sources
}

function findImport(name) {
  try {
    return { contents: fs.readFileSync(path.join(ROOT, 'node_modules', name), 'utf8') }
  } catch (error) {
    return { error: String(error) }
  }
}

function build() {
  const sources = readSources('src')
  const sorted = Object.fromEntries(Object.keys(sources).sort().map((name) => [name, sources[name]]))
  const input = { language: 'Solidity', sources: sorted, settings: SETTINGS }
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: findImport }))
  const problems = (output.errors || []).filter((problem) => problem.severity !== 'info')
  for (const problem of problems) console.error(problem.formattedMessage)
  if (problems.some((problem) => problem.severity === 'error')) process.exit(1)

  const artifacts = {}
  for (const [sourceName, contracts] of Object.entries(output.contracts)) {
    for (const [name, contract] of Object.entries(contracts)) {
      if (!PUBLISHED.includes(name)) continue
      const artifact = {
        contractName: name,
        sourceName,
        compiler: solc.version(),
        abi: contract.abi,
        bytecode: '0x' + contract.evm.bytecode.object,
        deployedBytecode: '0x' + contract.evm.deployedBytecode.object,
      }
      artifacts[name + '.json'] = JSON.stringify(artifact, null, 1) + '\n'
    }
  }
  return artifacts
}

function compare(artifacts) {
  const present = fs.existsSync(ARTIFACTS) ? fs.readdirSync(ARTIFACTS) : []
  const wrong = []
  for (const [file, text] of Object.entries(artifacts)) {
    const target = path.join(ARTIFACTS, file)
    if (!present.includes(file)) wrong.push(`missing ${file}`)
    else if (fs.readFileSync(target, 'utf8') !== text) wrong.push(`stale ${file}`)
  }
  for (const file of present) if (!(file in artifacts)) wrong.push(`orphan ${file}`)
  return wrong
}

const artifacts = build()
const missing = PUBLISHED.filter((name) => !(name + '.json' in artifacts))
if (missing.length) {
  console.error(`not compiled: ${missing.join(', ')}`)
  process.exit(1)
}
if (process.argv.includes('--check')) {
  const wrong = compare(artifacts)
  for (const line of wrong) console.error(line)
  if (wrong.length) console.error('run: node contracts/compile.js')
  process.exitCode = wrong.length ? 1 : 0
} else {
  fs.mkdirSync(ARTIFACTS, { recursive: true })
  for (const [file, text] of Object.entries(artifacts)) fs.writeFileSync(path.join(ARTIFACTS, file), text)
}
console.log(`${Object.keys(artifacts).length} artifacts, solc ${solc.version()}`)
