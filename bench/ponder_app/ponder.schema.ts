import { onchainTable } from "ponder";

export const account = onchainTable("account", (t) => ({
  id: t.text().primaryKey(),
  balance: t.bigint().notNull(),
  pendingRefund: t.bigint().notNull(),
}));

export const service = onchainTable("service", (t) => ({
  provider: t.hex().primaryKey(),
  model: t.text().notNull(),
  inputPrice: t.bigint().notNull(),
  outputPrice: t.bigint().notNull(),
}));

export const entry = onchainTable("entry", (t) => ({
  id: t.text().primaryKey(),
  kind: t.text().notNull(),
  user: t.hex().notNull(),
  amount: t.bigint().notNull(),
  block: t.bigint().notNull(),
}));
