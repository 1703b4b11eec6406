"""What predicting takes itself: python benchmarks/cost_itself.py.

Seconds to predict a step of training of ResNet-50 (cold, then the best of three), for two batches; and the memory that
predicting VGG-16 at batch 512 takes beyond importing torch, each in a process of its own.
"""

import json
import subprocess
import sys

from record import append_row

TIMES = """
import json, time, torch, striate
with torch.device("meta"):
    network = striate.create_model("resnet50")
def seconds(batch):
    began = time.perf_counter()
    striate.cost(network, (3, 224, 224), batch_size=batch, mode="training")
    return time.perf_counter() - began
found = {"cold": seconds(8)}
for batch in (8, 512):
    found[f"warm_{batch}"] = min(seconds(batch) for _ in range(3))
print(json.dumps(found))
"""

# The most that the process ever held, in bytes; Linux gives it in kB.
MEMORY = """
import json, resource, torch
def held():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = held()
import striate
with torch.device("meta"):
    network = striate.create_model("vgg16")
peak = striate.cost(network, (3, 224, 224), batch_size=512, mode="training").peak.size
print(json.dumps({"predicted": peak, "torch_alone": before, "beyond": held() - before}))
"""


def told(code: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    times, memory = told(TIMES), told(MEMORY)
    append_row(
        "cost_itself",
        **{f"seconds_{name}": f"{seconds:.3f}" for name, seconds in times.items()},
        **{f"bytes_{name}": int(size) for name, size in memory.items()},
    )
    print(f"ResNet-50, a step of training: cold {times['cold']:.2f} s, then {times['warm_8']:.2f} s (batch 8)")
    print(f"and {times['warm_512']:.2f} s (batch 512), best of three")
    beyond, predicted = memory["beyond"] / 1e6, memory["predicted"] / 1e9
    print(f"VGG-16, batch 512: {beyond:.0f} MB beyond torch, to predict {predicted:.1f} GB")
