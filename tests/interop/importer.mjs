// importer.mjs FILE CID: does ipfs-unixfs-importer, under unixfs-v1-2025, give the same CID?
import { createReadStream } from 'node:fs'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { MemoryBlockstore } from 'blockstore-core'

const [file, want] = process.argv.slice(2)
let got
for await (const e of importer([{ content: createReadStream(file) }], new MemoryBlockstore(), {
  cidVersion: 1, rawLeaves: true, chunker: fixedSize({ chunkSize: 1 << 20 }), layout: balanced({ maxChildrenPerNode: 1024 })
})) got = e.cid.toString()
console.log(got === want ? 'PASS same CID' : `FAIL ${got} is not ${want}`)
process.exit(got === want ? 0 : 1)
