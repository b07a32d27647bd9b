import { readFileSync } from "node:fs";
import { createConfig } from "ponder";
import { http } from "viem";

// What to index comes from the benchmark: URL, addresses and the last block of the history.
const given = JSON.parse(process.env.BENCH ?? "{}");
const abi = (name: string) => JSON.parse(readFileSync(`${given.artifacts}/${name}.json`, "utf8")).abi;
const range = { startBlock: 0, endBlock: given.last };

export default createConfig({
  networks: {
    devnet: { chainId: 31337, transport: http(given.url), maxRequestsPerSecond: 100000 },
  },
  database: { kind: "postgres", connectionString: given.database },
  contracts: {
    Ledger: { network: "devnet", abi: abi("LedgerManager"), address: given.ledger, ...range },
    Inference: { network: "devnet", abi: abi("InferenceServing"), address: given.inference, ...range },
  },
});
