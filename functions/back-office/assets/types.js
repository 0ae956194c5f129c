// The export types. Generated from their definitions by `tests/run --update unit`.

export const TYPES = [
  { slug: "marketplace-payouts", title: "Marketplace payouts", singular: "payout", plural: "payouts" },
];
