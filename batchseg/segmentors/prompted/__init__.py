"""Models that are told in words what to segment: CLIPSeg, SAM 3, SAM 3 LiteText, GroupViT, and our own.

checkpoint.py   on the driver: the words, and what is wrong with them; JSON and hashes, no torch
words.py        how classes are put into words; tokens.py counts what a text model makes of them
kinds.py        what the configuration of each family says
model.py        in an actor: an image is seen once, a text is read once, prompts are drawn some at a time
family.py       what a family does: it sees an image, reads texts, and draws prompts; one file each below

A checkpoint works in one of two modes. With a list of classes for all images (`segmentor.classes`, or the
run's label map) its scores are a map a class, and a background has 0.5 everywhere. Without a list each input
has a prompt of its own (`ModelInput.prompt`), and its scores are of background and foreground.

To add a family, say in kinds.py how its config.json is told and what it says, write the three methods of
`family.Family` in a file of its own, and name that in `model._family`.
"""
