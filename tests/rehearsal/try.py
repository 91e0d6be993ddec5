import sys; sys.path.insert(0,"tests/rehearsal")
from pathlib import Path
import published_files, small_worlds, time
f=Path("/tmp/reh"); 
import shutil; shutil.rmtree(f,ignore_errors=True); f.mkdir()
t=time.time()
from storyjax.storyworld.story.vocabulary import vocabulary
published_files.write(f, vocabulary()); print("weights",time.time()-t); t=time.time()
small_worlds.write(f, tuple(small_worlds.WORLDS)); print("worlds", time.time()-t)
