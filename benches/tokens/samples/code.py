import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class RetentionRule:
    name: str
    years: int = 5
    exceptions: list[str] = field(default_factory=list)

    def is_expired(self, age_in_days: float) -> bool:
        """Whether a record of this age may go."""
        return age_in_days > self.years * 365.25 and not self.exceptions


async def sweep(folder: Path, rules: dict[str, RetentionRule], *, dry_run: bool = True) -> int:
    removed = 0
    for path in sorted(folder.glob("**/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        rule = rules.get(record["kind"])
        if rule is None or not rule.is_expired(record["age_in_days"]):
            continue
        print(f"{path.name}: {rule.name!r} ({record['age_in_days']:.1f} d > {rule.years} y)")
        if not dry_run:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        removed += 1
    return removed


if __name__ == "__main__":
    RULES = {"contract": RetentionRule("contract", 10), "invoice": RetentionRule("invoice", 10, ["FR-75"]), "mail": RetentionRule("mail")}
    print(asyncio.run(sweep(Path("/srv/records"), RULES)))
