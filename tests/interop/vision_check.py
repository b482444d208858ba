"""A classifier exported by 'emac model export', in PyTorch: vision_check.py DIR IMAGES.gz LABELS.gz
Prints how many of the images it classifies right; docs/data.md shows the same program."""
import gzip, json, sys
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

folder, images, labels = sys.argv[1:]
config = json.load(open(folder + "/config.json"))
w, form = load_file(folder + "/model.safetensors"), config["input"]
h, wide, c = form["shape"]
x = torch.frombuffer(bytearray(gzip.open(images).read()[16:]), dtype=torch.uint8).reshape(-1, h, wide, c)
y = torch.frombuffer(bytearray(gzip.open(labels).read()[8:]), dtype=torch.uint8)
x = x.float() * torch.tensor(form["scale"]) + torch.tensor(form["shift"])
x = x.permute(0, 3, 1, 2)  # channels last, as EMAC has them, to channels first
for s in range(config["stages"]):
    x = F.conv2d(x, w[f"conv.{s}.weight"].permute(0, 3, 1, 2), w[f"conv.{s}.bias"], padding=config["kernel"] // 2)
    x = F.max_pool2d(F.relu(x), 2)
x = x.permute(0, 2, 3, 1).flatten(1)
for l in range(config["layers"] + 1):
    x = F.linear(x, w[f"dense.{l}.weight"], w[f"dense.{l}.bias"])
    x = F.relu(x) if l < config["layers"] else x
print(int((x.argmax(1) == y).sum()))
