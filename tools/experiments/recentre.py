import numpy as np, sys
from pathlib import Path
from scipy.ndimage import uniform_filter, gaussian_filter
from tools.exam import outside as O
from blendkit.networks import weights, fractions as F
from blendkit.data.cleaning import clean
from blendkit.data.load import load_sample
real = clean(load_sample("../shared/data/hst-drizzled")); nl = O.noiseless(Path("../shared/data/hst-noiseless"))
nl = nl[np.isin(nl.catalog["id"], real.catalog["id"])]
source, n = sys.argv[1], int(sys.argv[2])
net,_ = weights.load(source)
def own_heat(im):
    image, unit = net.get_layer("sky")(im[...,None]); x, xc, *_ = F._look(image[...,0], (128,128))
    return np.asarray(F.places(net.get_layer("locate")([x,xc])[0])[0]) - 64
def peak(im, s=1.0, w=2.0, near=3):
    sm = gaussian_filter(im, (0,s,s)); v=np.arange(-near,near+1)
    box = sm[:,64-near:65+near,64-near:65+near]
    pr = np.exp(-(v[:,None]**2+v**2)/(2*w*w))
    b = np.maximum(box,0)*pr
    a = b.reshape(len(im),-1).argmax(1); return np.stack([a//len(v),a%len(v)],1)-near
def sym(im, near=3, r=5):
    # centre of symmetry of arcsinh light in a disc
    x = np.arcsinh(im/0.01); v=np.arange(-near,near+1); d=np.arange(-r,r+1); yy,xx=np.meshgrid(d,d,indexing="ij"); disc=(yy**2+xx**2<=r*r)
    best=np.full(len(im),-1e9); out=np.zeros((len(im),2),int)
    for a in v:
        for b in v:
            p=x[:,64+a-r:65+a+r,64+b-r:65+b+r]; q=p[:,::-1,::-1]
            m=np.minimum(p,q)
            s=(m*disc).sum((1,2))*np.exp(-(a*a+b*b)/(2*3.0**2))
            t=s>best; best[t]=s[t]; out[t]=(a,b)
    return out
def rolled(im, at):
    return np.stack([np.roll(i, (-a,-b), (0,1)) for i,(a,b) in zip(im,at)])
for c in O.CONDITIONS:
    if c.name not in ("survey","1 pixel off","2 pixels off","no companion","0.5 pixels off"): continue
    sam = real if c.noise=="correlated" else nl
    b = c.blends(sam, n); im, truth = c.stamps(sam, b); t=np.array(b["flux"],float)[:,:2]
    got={}
    h=own_heat(im)
    for name, at in {"none":0*h, "heat":h, "peak":peak(im), "sym":sym(im), "min":None}.items():
        if at is None: continue
        f = net.predict(rolled(im,at)[...,None],batch_size=32,verbose=0)["fluxes"]/c.unit
        o=100*np.abs(f/t-1); k=1 if c.lone else 2
        print(f"{c.name:16s} {name:5s} moved {np.mean(np.any(at!=0,1)):.2f}", " ".join(f"{o[:,j].mean():6.2f}/{np.median(o[:,j]):5.2f}" for j in range(k)), flush=True)
